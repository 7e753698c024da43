import dataclasses

import numpy as np
import pytest
from skimage.registration import phase_cross_correlation

from restorer.errors import RestorerError
from restorer.faces import RestoredFace
from restorer.pipeline.align import align
from restorer.pipeline.mask import face_mask
from restorer.pipeline.paste import MASK_STEP, paste
from restorer.pipeline.upsample import enlarge
from restorer.resample import compose, invert, scaling, transform

from .scenes import face_at, waves

SIZE = 128
FULL = np.ones((SIZE, SIZE), np.float32)
FRAMED = np.pad(np.ones((SIZE - 16, SIZE - 16), np.float32), 8)


def restored(photo, face, change=lambda crop: crop, size=SIZE):
    aligned = align(photo, face, size)
    return RestoredFace(aligned=aligned, pixels=change(aligned.crop))


def noise(shape, seed=0, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


def steepest(image):
    image = image.astype(np.int32)
    return max(np.abs(np.diff(image, axis=0)).max(), np.abs(np.diff(image, axis=1)).max())


def inverted(crop):
    return 255 - crop


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strength_zero_is_the_canvas_to_the_bit(dtype):
    photo = noise((150, 150, 3), dtype=dtype)
    canvas = enlarge(photo, 2)
    face = restored(photo, face_at((75, 75), 1.0, 20, SIZE), inverted)
    result = paste(canvas, [face], [FULL], scale=2.0, strength=0.0)
    assert result is not canvas and result.dtype == dtype
    np.testing.assert_array_equal(result, canvas)


def test_no_faces_give_a_copy():
    canvas = noise((20, 30, 3))
    result = paste(canvas, [], [], scale=1.0)
    np.testing.assert_array_equal(result, canvas)
    assert not np.shares_memory(result, canvas)


def crowd(photo):
    """Faces over one another and side by side, in crops finer and coarser than the canvas."""
    places = [((90, 90), 0.6, 20), ((140, 110), 1.5, -35), ((330, 300), 2.5, 100), ((280, 420), 1.0, 0)]
    return [restored(photo, face_at(*place, SIZE), inverted) for place in places]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_in_place_gives_the_same_and_uses_the_canvas_up(dtype):
    photo = noise((500, 480, 3), dtype=dtype)
    canvas = enlarge(photo, 1.5)
    faces = crowd(photo)
    expected = paste(canvas, faces, [FRAMED] * 4, scale=1.5)
    assert (expected != canvas).any()
    result = paste(canvas, faces, [FRAMED] * 4, scale=1.5, in_place=True)
    assert result is canvas
    np.testing.assert_array_equal(result, expected)


def test_the_number_of_threads_changes_nothing(monkeypatch):
    photo = noise((500, 480, 3))
    canvas, faces = enlarge(photo, 1.5), crowd(photo)
    results = []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        results.append(paste(canvas, faces, [FRAMED] * 4, scale=1.5))
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("scale", "upscale"), [(0.5, 1.0), (1.0, 2.0), (3.0, 1.0)])
def test_pixels_outside_the_masks_are_the_canvas_to_the_bit(dtype, scale, upscale):
    photo = noise((300, 320, 3), dtype=dtype)
    canvas = enlarge(photo, upscale)
    faces = [restored(photo, face_at((90, 150), scale, 33, SIZE), inverted)]
    mask = face_mask(faces[0].aligned, scale=upscale)
    result = paste(canvas, faces, [mask], scale=upscale)
    # Truth by another way: where the crop pixel nearest to a canvas pixel, and those about it, have mask 0.
    to_crop = compose(faces[0].aligned.photo_to_crop, invert(scaling(upscale, upscale)))
    y, x = np.mgrid[: canvas.shape[0], : canvas.shape[1]]
    places = transform(to_crop, np.stack([x.ravel(), y.ravel()], axis=1))
    reach = 1.5 * max(1.0, scale / upscale)
    columns, rows = np.nonzero(mask)[1], np.nonzero(mask)[0]
    outside = (
        (places[:, 0] < columns.min() - reach)
        | (places[:, 0] > columns.max() + reach)
        | (places[:, 1] < rows.min() - reach)
        | (places[:, 1] > rows.max() + reach)
    ).reshape(canvas.shape[:2])
    assert 0.2 < outside.mean() < 1
    np.testing.assert_array_equal(result[outside], canvas[outside])
    assert (result[~outside] != canvas[~outside]).any()


@pytest.mark.parametrize("upscale", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("scale", [0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0])
def test_an_unchanged_crop_survives(scale, upscale):
    side = int(SIZE / scale * 1.5) // 2 * 2 + 16
    photo = np.rint(waves(side, side, 0.2 * min(1, scale))).astype(np.uint8)
    canvas = enlarge(photo, upscale)
    for degrees in range(0, 360, 37):
        face = restored(photo, face_at((side / 2 + 0.3, side / 2 - 0.4), scale, degrees, SIZE))
        result = paste(canvas, [face], [FRAMED], scale=upscale)
        assert np.abs(result.astype(int) - canvas).max() <= 2, degrees
        half = int(SIZE / scale * upscale * 0.3)
        middle = slice(canvas.shape[0] // 2 - half, canvas.shape[0] // 2 + half)
        before, after = (image[middle, middle].mean(axis=2) for image in (canvas, result))
        shift, _, _ = phase_cross_correlation(before, after, upsample_factor=100, normalization=None)
        assert np.abs(shift).max() < 0.05, degrees


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_sixteen_bits_survive_finely(dtype):
    photo = np.rint(waves(200, 200, 0.1) * (257 if dtype == np.uint16 else 1)).astype(dtype)
    face = restored(photo, face_at((100, 100), 1.0, 37, SIZE))
    difference = np.abs(paste(photo, [face], [FRAMED], scale=1.0).astype(int) - photo)
    assert difference.max() <= (1 if dtype == np.uint8 else 200)


@pytest.mark.parametrize("upscale", [1.0, 2.0])
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("drawn", [True, False])
def test_a_raised_crop_on_grey_shows_no_step(scale, upscale, drawn):
    size = 256
    side = int(size / scale * 1.5)
    photo = np.full((side, side, 3), 100, np.uint8)
    face = restored(photo, face_at((side / 2, side / 2), scale, 25, size), lambda crop: crop + 20, size)
    mask = face_mask(face.aligned, scale=upscale) if drawn else np.ones((size, size), np.float32)
    result = paste(enlarge(photo, upscale), [face], [mask], scale=upscale)
    assert result[int(side * upscale / 2), int(side * upscale / 2), 0] == 120
    assert result.min() == 100 and result.max() == 120
    assert steepest(result) <= 1


@pytest.mark.parametrize("canvas_side", [131, 64, 40, 12, 8])
def test_tiny_faces_show_no_step_either(canvas_side):
    photo = np.full((200, 200, 3), 100, np.uint8)
    face = restored(photo, face_at((100, 100), 512 / canvas_side, 10, 512), lambda crop: crop + 20, 512)
    result = paste(photo, [face], [face_mask(face.aligned)], scale=1.0)
    assert steepest(result) <= 1
    # A face box is about half its crop's side: from 64 pixels on the face's middle is restored in full.
    if canvas_side >= 128:
        assert (result[..., 0] == 120).sum() > 300


def test_a_face_of_64_canvas_pixels_is_restored_where_its_features_are():
    photo = np.full((200, 200, 3), 100, np.uint8)
    face = restored(photo, face_at((100, 100), 4.0, 0, 512), lambda crop: crop + 100, 512)
    result = paste(photo, [face], [face_mask(face.aligned)], scale=1.0)
    x, y = np.rint(face.aligned.face.landmarks).astype(int).T
    assert (result[y, x, 0] >= 185).all()


def test_strength_lies_that_far_between():
    photo = np.full((160, 160, 3), 50, np.uint16)
    face = restored(photo, face_at((80, 80), 1.0, 0, SIZE), lambda crop: crop * 0 + 200)
    whole = paste(photo, [face], [FULL], scale=1.0).astype(float)
    part = paste(photo, [face], [FULL], scale=1.0, strength=0.25).astype(float)
    np.testing.assert_allclose(part, 50 + 0.25 * (whole - 50), atol=0.75)
    assert part.max() == round(50 + 0.25 * (200 * 257 - 50))


def test_values_are_rounded_to_nearest_and_clipped():
    photo = np.full((160, 160, 3), 255, np.uint8)
    face = restored(photo, face_at((80, 80), 1.0, 0, SIZE), lambda crop: crop * 0 + 100.6)
    assert paste(photo, [face], [FULL], scale=1.0)[80, 80, 0] == 101
    bright = restored(photo, face_at((80, 80), 1.0, 0, SIZE), lambda crop: crop * 0 + 900)
    assert paste(photo, [bright], [FULL], scale=1.0).min() == 255


def test_pasting_twice_gives_the_same_and_leaves_the_inputs():
    photo = noise((200, 200, 3))
    face = restored(photo, face_at((90, 110), 0.8, 70, SIZE), inverted)
    mask = face_mask(face.aligned)
    copies = photo.copy(), face.pixels.copy(), mask.copy()
    first = paste(photo, [face], [mask], scale=1.0)
    np.testing.assert_array_equal(first, paste(photo, [face], [mask], scale=1.0))
    for now, before in zip((photo, face.pixels, mask), copies, strict=True):
        np.testing.assert_array_equal(now, before)


def overlapping(photo):
    places = [((110, 130), 30), ((170, 150), 90), ((130, 190), 200), ((400, 420), 10)]
    return [
        restored(photo, face_at(centre, 1.0, 10 * i, SIZE), lambda crop, level=level: crop * 0 + level)
        for i, (centre, level) in enumerate(places)
    ]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_order_of_overlapping_faces_plays_no_part(dtype):
    photo = noise((600, 500, 3), dtype=dtype)
    faces = overlapping(photo)
    expected = paste(photo, faces, [FRAMED] * 4, scale=1.0)
    for order in ([3, 2, 1, 0], [1, 3, 0, 2]):
        np.testing.assert_array_equal(paste(photo, [faces[i] for i in order], [FRAMED] * 4, scale=1.0), expected)


def test_overlapping_faces_share_fairly():
    photo = np.full((300, 300, 3), 100, np.uint8)
    level = lambda value: lambda crop: crop * 0 + value  # noqa: E731
    faces = [
        restored(photo, face_at((125, 150), 1.0, 0, SIZE), level(40)),
        restored(photo, face_at((174, 150), 1.0, 0, SIZE), level(200)),
    ]
    result = paste(photo, faces, [FULL, FULL], scale=1.0)
    row = result[150, :, 0].astype(int)
    assert row[90] == 40 and row[210] == 200
    # Half way between the two, the mean of both; and the whole row mirrors about it.
    assert (row[149] + row[150]) / 2 == pytest.approx(120, abs=1)
    np.testing.assert_allclose((row[60:150] - 120), -(row[150:240][::-1] - 120), atol=41)
    both_raised = [dataclasses.replace(f, pixels=f.aligned.crop + 20) for f in faces]
    assert steepest(paste(photo, both_raised, [FULL, FULL], scale=1.0)) <= 1


def test_the_same_face_twice_is_the_face_once():
    photo = noise((200, 200, 3))
    face = restored(photo, face_at((100, 100), 1.0, 5, SIZE), inverted)
    once = paste(photo, [face], [FRAMED], scale=1.0).astype(int)
    assert np.abs(paste(photo, [face, face], [FRAMED, FRAMED], scale=1.0) - once).max() <= 1


@pytest.mark.parametrize("centre", [(0, 0), (199, 100), (100, 199), (-40, 100), (230, 230)])
@pytest.mark.parametrize("upscale", [1.0, 2.0])
def test_faces_at_the_border(centre, upscale):
    photo = np.rint(waves(200, 200, 0.1)).astype(np.uint8)
    canvas = enlarge(photo, upscale)
    face = restored(photo, face_at(centre, 1.0, 20, SIZE))
    unchanged = paste(canvas, [face], [FRAMED], scale=upscale)
    assert np.abs(unchanged.astype(int) - canvas).max() <= 3
    raised = restored(np.full_like(photo, 100), face_at(centre, 1.0, 20, SIZE), lambda crop: crop + 20)
    flat = paste(np.full_like(canvas, 100), [raised], [FRAMED], scale=upscale)
    assert flat.max() > 100 and steepest(flat) <= 1


def test_the_edge_of_the_photograph_is_restored_too():
    photo = np.full((200, 200, 3), 100, np.uint8)
    face = restored(photo, face_at((0, 100), 1.0, 0, SIZE), lambda crop: crop + 20)
    assert paste(photo, [face], [FRAMED], scale=1.0)[100, 0, 0] == 120


def test_a_mask_of_zeros_changes_nothing():
    photo = noise((200, 200, 3))
    face = restored(photo, face_at((100, 100), 1.0, 0, SIZE), inverted)
    np.testing.assert_array_equal(paste(photo, [face], [FULL * 0], scale=1.0), photo)


def test_a_face_outside_the_canvas_changes_nothing():
    photo = noise((300, 300, 3))
    face = restored(photo, face_at((250, 250), 1.0, 0, SIZE), inverted)
    small = photo[:100, :100]
    np.testing.assert_array_equal(paste(small, [face], [FULL], scale=1.0), small)


def test_scales_of_rounded_sizes_may_differ():
    photo = np.rint(waves(101, 151, 0.1)).astype(np.uint8)
    canvas = enlarge(photo, 1.45)
    scale = (canvas.shape[1] / 101, canvas.shape[0] / 151)
    assert scale[0] != scale[1]
    face = restored(photo, face_at((50, 75), 1.5, 20, SIZE))
    result = paste(canvas, [face], [FRAMED], scale=scale)
    assert np.abs(result.astype(int) - canvas).max() <= 2


def test_bands_leave_no_trace(monkeypatch):
    photo = noise((600, 400, 3))
    faces = overlapping(photo)
    whole = paste(photo, faces, [FRAMED] * 4, scale=1.0)
    monkeypatch.setattr("restorer.pipeline.paste._BAND", 17)
    np.testing.assert_allclose(paste(photo, faces, [FRAMED] * 4, scale=1.0).astype(int), whole, atol=1)


def test_masks_are_lowered_only_as_far_as_needed():
    photo = np.zeros((200, 200, 3), np.uint16)
    face = restored(photo, face_at((99.5, 99.5), 1.0, 0, SIZE), lambda crop: crop * 0 + 255)
    share = paste(photo, [face], [FULL], scale=1.0)[100, :, 0] / 65535
    # The crop covers columns 36..163; column 35 is 0, from there the mask climbs by its greatest step.
    np.testing.assert_allclose(share[35:65], np.minimum(MASK_STEP * np.arange(30), 1), atol=1e-4)


def test_numbers_that_are_not_finite_are_refused():
    photo = noise((200, 200, 3))
    face = restored(photo, face_at((100, 100), 1.0, 0, SIZE), lambda crop: crop * np.nan)
    with pytest.raises(RestorerError, match="not finite"):
        paste(photo, [face], [FULL], scale=1.0)


def test_one_mask_per_face():
    photo = noise((200, 200, 3))
    face = restored(photo, face_at((100, 100), 1.0, 0, SIZE))
    with pytest.raises(ValueError):
        paste(photo, [face], [FULL, FULL], scale=1.0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("scale", "upscale"), [(0.4, 1.0), (0.1, 1.0), (0.7, 2.0)])
def test_a_face_larger_than_its_crop_keeps_the_photographs_finest_detail(dtype, scale, upscale):
    photo = noise((700, 700, 3), seed=4, dtype=dtype)
    canvas = enlarge(photo, upscale)
    face = restored(photo, face_at((350, 350), scale, 10, SIZE))
    result = paste(canvas, [face], [FRAMED], scale=upscale)
    off = (result.astype(np.float64) - canvas)[200:-200, 200:-200]
    # Plain noise is nearly all detail: without it the difference is that of the canvas from grey.
    assert off.std() < 0.12 * canvas.astype(np.float64).std()
    changed = paste(canvas, [restored(photo, face_at((350, 350), scale, 10, SIZE), inverted)], [FRAMED], scale=upscale)
    assert np.abs(changed.astype(np.float64) - canvas).mean() > 2 * np.abs(off).mean()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_on_a_plain_enlargement_an_unchanged_face_changes_no_bit(dtype):
    photo = noise((220, 240, 3), seed=3, dtype=dtype)
    canvas = enlarge(photo, 2)
    face = restored(photo, face_at((120, 110), 1.0, 20, SIZE))  # a crop of 128 pixels for 256 of the canvas
    result = paste(canvas, [face], [FULL], scale=2.0, interpolated=True)
    np.testing.assert_array_equal(result, canvas)


def test_what_a_crop_holds_of_a_plain_enlargement_is_the_crop():
    photo = waves(300, 300, 0.08, 2).astype(np.uint8)
    canvas = enlarge(photo, 2)
    face = restored(photo, face_at((150, 150), 1.3, 25, SIZE), lambda crop: crop * 0.5 + 60)
    results = [paste(canvas, [face], [FULL], scale=2.0, interpolated=known).astype(int) for known in (False, True)]
    assert np.abs(results[0] - canvas).mean() > 0.5
    assert np.abs(results[0] - results[1]).max() <= 1
