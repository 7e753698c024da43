import numpy as np
import pytest

from restorer.faces import AlignedFace, Face
from restorer.pipeline.align import template
from restorer.pipeline.mask import FACE_CLASSES, face_mask


def aligned(size=512, points=None, magnification=1.0):
    """A face whose crop shows a photograph pixel ``magnification`` times as large."""
    points = template(size) if points is None else points
    face = Face(box=(0, 0, 1, 1), score=0.9, landmarks=(points / magnification).astype(np.float32))
    to_crop = np.array([[magnification, 0, 0], [0, magnification, 0]])
    return AlignedFace(face=face, crop=np.full((size, size, 3), 128, np.float32), photo_to_crop=to_crop)


def labels_of(*areas):
    labels = np.zeros((512, 512), np.int64)
    for number, rows, columns in areas:
        labels[rows, columns] = number
    return labels


SKIN = (1, slice(150, 440), slice(140, 370))


@pytest.mark.parametrize("size", [128, 512, 1024])
@pytest.mark.parametrize("magnification", [0.5, 1.0, 4.0, 10.0])
def test_drawn_mask_is_full_on_the_features_and_zero_at_the_border(size, magnification):
    mask = face_mask(aligned(size, magnification=magnification))
    assert mask.shape == (size, size) and mask.dtype == np.float32
    assert mask.min() == 0 and mask.max() == 1
    x, y = np.rint(template(size)).astype(int).T
    assert (mask[y, x] == 1).all()
    border = size // 64
    inside = np.zeros_like(mask, bool)
    inside[border:-border, border:-border] = True
    assert not mask[~inside].any()


def test_drawn_mask_takes_in_forehead_and_chin_but_not_the_corners():
    mask = face_mask(aligned())
    assert mask[130, 256] == 1 and mask[440, 256] == 1
    assert mask[256, 130] == 1 and mask[256, 382] == 1
    assert mask[40, 40] == 0 and mask[40, 470] == 0 and mask[470, 40] == 0


def test_mask_is_smooth_in_the_canvas():
    for magnification, scale in [(0.5, 1.0), (1.0, 1.0), (2.0, 2.0), (4.0, 2.0), (2.0, 1.0)]:
        mask = face_mask(aligned(magnification=magnification), scale=scale)
        step = max(np.abs(np.diff(mask, axis=0)).max(), np.abs(np.diff(mask, axis=1)).max())
        # A canvas pixel is magnification / scale crop pixels; at most 2 of them the fringe still has room for.
        assert step * magnification / scale < 1 / 20


def test_small_faces_get_a_wider_fringe():
    wide, narrow = face_mask(aligned(magnification=3.0)), face_mask(aligned(magnification=1.0))
    assert (wide[260] > 0).sum() > (narrow[260] > 0).sum()
    np.testing.assert_array_equal(face_mask(aligned(magnification=3.0), scale=3.0), narrow)
    np.testing.assert_array_equal(face_mask(aligned(magnification=3.0), scale=(3.0, 3.0)), narrow)


def test_drawn_mask_follows_a_turned_face():
    size = 512
    angle = np.deg2rad(30)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (template(size) - 255.5) @ turn.T + 255.5
    mask = face_mask(aligned(points=points))
    chin = turn @ np.array([0.0, 190.0]) + 255.5
    mirrored = np.array([511 - chin[0], chin[1]])
    assert mask[int(chin[1]), int(chin[0])] == 1
    assert mask[int(mirrored[1]), int(mirrored[0])] < 0.6


def test_drawn_mask_of_a_profile_keeps_some_width():
    points = (template() - [256, 0]) * [0.05, 1] + [256, 0]
    mask = face_mask(aligned(points=points))
    assert (mask[300] == 1).sum() > 150


def test_coinciding_eyes_and_mouth_give_a_mask():
    mask = face_mask(aligned(points=np.full((5, 2), 256.0)))
    assert np.isfinite(mask).all() and mask[256, 256] == 1


def test_parsed_mask_takes_face_classes_and_leaves_the_others():
    seen = []

    def parse(crop):
        seen.append((crop.shape, crop.dtype))
        return labels_of(SKIN, (17, slice(0, 100), slice(0, 512)), (14, slice(470, 512), slice(0, 512)))

    mask = face_mask(aligned(), parse)
    assert seen == [((512, 512, 3), np.float32)]
    assert mask[300, 256] == 1 and mask[170, 160] == 1
    assert mask[60, 256] == 0
    assert mask[300, 60] == 0


@pytest.mark.parametrize("number", range(19))
def test_classes_of_the_face(number):
    mask = face_mask(aligned(), lambda crop: labels_of(SKIN, (number, slice(200, 300), slice(200, 300))))
    belongs = number in {1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13}
    assert (number in FACE_CLASSES) == belongs
    # The middle of a hole of 100 pixels is full only if its class belongs to the face.
    assert (mask[250, 250] == 1) == belongs


def test_gaps_in_the_parsed_face_are_filled():
    hair = (17, slice(150, 440), slice(250, 266))
    mask = face_mask(aligned(), lambda crop: labels_of(SKIN, hair))
    assert (mask[170:420, 160:350] == 1).all()


def test_a_neighbours_face_is_left_out():
    neighbour = (1, slice(200, 400), slice(450, 512))
    np.testing.assert_array_equal(
        face_mask(aligned(), lambda crop: labels_of(SKIN, neighbour)),
        face_mask(aligned(), lambda crop: labels_of(SKIN)),
    )


def test_parser_of_fixed_size_serves_every_crop():
    mask = face_mask(aligned(256, magnification=0.5), lambda crop: labels_of(SKIN))
    whole = face_mask(aligned(512), lambda crop: labels_of(SKIN))
    assert mask.shape == (256, 256)
    assert np.abs(mask[100:160, 50:200] - whole[200:320:2, 100:400:2]).max() < 0.1


def test_a_parser_that_finds_nothing_gives_the_drawn_mask_and_says_so():
    words = []
    mask = face_mask(aligned(), lambda crop: labels_of((17, slice(0, 512), slice(0, 512))), notify=words.append)
    np.testing.assert_array_equal(mask, face_mask(aligned()))
    assert len(words) == 1 and "parser" in words[0]


def test_a_parser_that_fails_is_not_hidden():
    def parse(crop):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        face_mask(aligned(), parse)
