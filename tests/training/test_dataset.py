"""Reading aligned faces and drawing pairs from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restorer.errors import PhotoError
from restorer.training.components import component_boxes
from restorer.training.damage.colour import RELEASED_COLOUR
from restorer.training.dataset import (
    AlignedCrop,
    SampleSettings,
    component_weight,
    draw_batch,
    draw_numbered,
    draw_pair,
    load_faces,
    stack,
)
from restorer.training.degradations import DegradationSettings
from tests.training.faces import POINTS, drawn_face, write_zip


def test_a_zip_and_a_folder_hold_the_same_faces(tmp_path: Path) -> None:
    import zipfile

    archive = write_zip(tmp_path / "faces.zip", [drawn_face(0), drawn_face(1)])
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "folder")
    for source in (archive, tmp_path / "folder"):
        faces = load_faces(source, 64)
        assert [face.name for face in faces] == ["face0.png", "face1.png"]
        assert np.array_equal(faces[1].pixels, drawn_face(1).pixels)
        assert np.array_equal(faces[1].points, POINTS)


def test_bad_sources_are_refused_with_a_sentence(tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "whole.zip", [drawn_face(0)])
    (tmp_path / "cut.zip").write_bytes(whole.read_bytes()[:-200])
    write_zip(tmp_path / "none.zip", [])
    (tmp_path / "empty").mkdir()
    for name, word in (
        ("missing.zip", "missing"),
        ("cut.zip", "truncated"),
        ("none.zip", "no faces"),
        ("empty", "missing"),
    ):
        with pytest.raises(PhotoError, match=word):
            load_faces(tmp_path / name, 64)
    with pytest.raises(PhotoError, match="64×64 pixels, not 512×512"):
        load_faces(whole)


def test_larger_faces_are_reduced_with_their_points(tmp_path: Path) -> None:
    """A picture of horizontal and vertical ramps, whose pixels say where they came from."""
    side = np.arange(128, dtype=np.uint8)
    ramps = np.stack([*np.meshgrid(side, side), np.zeros((128, 128), np.uint8)], axis=-1)
    points = np.array([[40.5, 60.5], [80.5, 60.5], [60.5, 80.5], [50.5, 96.5], [70.5, 96.5]], np.float32)
    archive = write_zip(tmp_path / "large.zip", [AlignedCrop("a.png", ramps, points)])
    (face,) = load_faces(archive, 64)
    assert face.pixels.shape == (64, 64, 3) and face.points.dtype == np.float32
    # what the reduced picture shows at the reduced points is where they lay in the large one
    for (x, y), before in zip(face.points.round().astype(int), points, strict=True):
        assert np.abs(face.pixels[y, x, :2] - before).max() <= 1


@pytest.mark.parametrize(
    ("manifest", "word"),
    [
        ('{"file": "a.png"}', "cannot be read"),
        ('[{"points": []}]', "has no 'file'"),
        ('[{"file": "a.png"}]', "has no 'points'"),
        ('[{"file": "b.png", "points": []}]', "b.png"),
        ('[{"file": "a.png", "points": [[1, 2]]}]', "no five points"),
        ('[{"file": "a.png", "points": [[1, 2], [1, 2], [1, 2], [1, 2], [1, NaN]]}]', "no five points"),
        ('[{"file": "a.png", "points"', "cannot be read"),
    ],
)
def test_a_bad_manifest_is_refused(tmp_path: Path, manifest: str, word: str) -> None:
    Image.fromarray(drawn_face(0).pixels).save(tmp_path / "a.png")
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(PhotoError, match=word):
        load_faces(tmp_path, 64)


def test_a_zip_that_was_cut_or_changed_inside_is_refused(tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "whole.zip", [drawn_face(0)]).read_bytes()
    for place in (60, len(whole) // 2):
        changed = whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :]
        (tmp_path / "changed.zip").write_bytes(changed)
        with pytest.raises(PhotoError, match="cannot be read"):
            load_faces(tmp_path / "changed.zip", 64)


def test_a_truncated_picture_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    (folder / "manifest.json").write_text('[{"file": "a.png", "points": []}]')
    Image.fromarray(drawn_face(0).pixels).save(folder / "a.png")
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:100])
    with pytest.raises(PhotoError):
        load_faces(folder, 64)


def test_mirroring_swaps_the_eyes_and_leaves_the_table_as_it_was() -> None:
    face = drawn_face(0)
    face.points[0] = (20, 30)  # no longer symmetric
    before = face.pixels.copy(), face.points.copy()
    settings = SampleSettings(clean=1.0, grey=0.0)
    seen = {}
    for seed in range(20):
        pair = draw_pair(face, settings, np.random.default_rng(seed))
        seen[bool(np.array_equal(pair.truth, face.pixels))] = pair
    assert np.array_equal(seen[False].truth, face.pixels[:, ::-1])
    # mirrored about the picture's centre, the weight is the mirrored weight: the eye at 20 is now at 43
    assert np.allclose(seen[False].weight, seen[True].weight[:, ::-1], atol=1e-5)
    assert np.array_equal(face.pixels, before[0]) and np.array_equal(face.points, before[1])


def test_grey_pairs_are_grey_on_both_sides() -> None:
    pair = draw_pair(drawn_face(3), SampleSettings(clean=0.0, grey=1.0), np.random.default_rng(2))
    for image in (pair.degraded, pair.truth):
        assert (image[..., 0] == image[..., 1]).all() and (image[..., 0] == image[..., 2]).all()


def test_eyes_and_mouth_weigh_most() -> None:
    weight = component_weight(POINTS, 64)
    assert weight.mean() == pytest.approx(1, abs=1e-4)
    assert weight[30, 24] > 2 * weight[60, 4] and weight[46, 32] > 2 * weight[60, 4]


def test_a_pair_depends_on_seed_and_number_alone_and_a_round_visits_every_face() -> None:
    faces = [drawn_face(seed) for seed in range(5)]
    settings = SampleSettings()
    again = draw_numbered(faces, settings, 7, 12)
    assert np.array_equal(draw_numbered(faces, settings, 7, 12).degraded, again.degraded)
    assert not np.array_equal(draw_numbered(faces, settings, 8, 12).degraded, again.degraded)
    plain = SampleSettings(clean=1.0, grey=0.0)
    skins = {tuple(draw_numbered(faces, plain, 7, number).truth[32, 32]) for number in range(5, 10)}
    assert len(skins) == 5


def test_a_batch_holds_the_pairs_of_its_numbers() -> None:
    faces = [drawn_face(seed) for seed in range(3)]
    batch = draw_batch(faces, SampleSettings(), 7, [4, 9])
    assert len(batch) == 2 and batch.boxes.shape == (2, 3, 4) and batch.weight.shape == (2, 1, 64, 64)
    for row, number in enumerate((4, 9)):
        pair = draw_numbered(faces, SampleSettings(), 7, number)
        for name in ("degraded", "truth"):
            pixels = ((getattr(batch, name)[row] + 1) * 127.5).permute(1, 2, 0).numpy()
            assert np.abs(pixels - getattr(pair, name)).max() < 1e-3
        assert np.array_equal(batch.weight[row, 0].numpy(), pair.weight)
        assert np.array_equal(batch.boxes[row].numpy(), pair.boxes)


def test_a_mirrored_pair_has_the_boxes_of_its_own_eyes() -> None:
    face = drawn_face(0)
    face.points[0] = (20, 30)
    plain = SampleSettings(clean=1.0, grey=0.0)
    for seed in range(8):
        pair = draw_pair(face, plain, np.random.default_rng(seed))
        same = np.array_equal(pair.truth, face.pixels)
        left_eye = (20 if same else 63 - 40, 30)
        assert pair.boxes[0, [0, 2]].mean() == pytest.approx(left_eye[0], abs=1)
        assert np.allclose(pair.boxes, component_boxes(face.points, 64)) == same


@pytest.mark.parametrize("on_device", [False, True])
def test_a_pair_depends_on_its_number_alone_with_every_damage(on_device: bool) -> None:
    faces = [drawn_face(seed) for seed in range(5)]
    settings = SampleSettings(old=0.5, colour=RELEASED_COLOUR, on_device=on_device)
    together = draw_batch(faces, settings, 7, range(20, 36))
    for row in (0, 3, 11):
        alone = draw_batch(faces, settings, 7, [20 + row])
        for name in ("truth", "degraded"):
            difference = (getattr(alone, name)[0] - getattr(together, name)[row]).abs() * 127.5
            assert difference.mean() < 0.01 and (difference > 0.5).float().mean() < 1e-3
        assert np.array_equal(alone.boxes[0], together.boxes[row])
    again = draw_batch(faces, settings, 7, range(20, 36))
    assert np.array_equal(again.degraded, together.degraded)


def test_on_the_device_and_not_give_the_same_pairs_but_for_noise() -> None:
    faces = [drawn_face(seed) for seed in range(5)]
    quiet = DegradationSettings(noise=(0.0, 0.0))
    on, off = (
        draw_batch(faces, SampleSettings(degradation=quiet, on_device=where, old=0.3), 1, range(30))
        for where in (True, False)
    )
    assert (on.truth - off.truth).abs().max() * 127.5 < 0.01
    assert np.allclose(on.weight, off.weight, atol=1e-5) and np.array_equal(on.boxes, off.boxes)
    errors = ((on.degraded - off.degraded) * 127.5).square().mean(dim=(1, 2, 3))
    assert errors.sqrt().max() < 3 and errors.sqrt().median() < 1


def test_old_photographs_come_as_often_as_asked_for_and_their_truth_has_their_tone() -> None:
    face = drawn_face(1)
    settings = SampleSettings(clean=0.0, grey=0.0, old=0.4)
    pairs = [draw_pair(face, settings, np.random.default_rng(seed)) for seed in range(150)]
    toned = [
        pair
        for pair in pairs
        if not any(np.array_equal(pair.truth, original) for original in (face.pixels, face.pixels[:, ::-1]))
    ]
    assert len(toned) / 150 == pytest.approx(0.4, abs=0.1)
    for pair in toned:
        assert np.abs(pair.truth.mean((0, 1)) - pair.degraded.mean((0, 1))).max() < 40
        assert not np.array_equal(pair.truth, pair.degraded)


def test_grey_truths_have_grey_inputs_on_the_device_too() -> None:
    faces = [drawn_face(seed) for seed in range(3)]
    settings = SampleSettings(grey=1.0, clean=0.0, on_device=True, colour=RELEASED_COLOUR)
    batch = draw_batch(faces, settings, 0, range(6))
    for images in (batch.truth, batch.degraded):
        assert np.array_equal(images[:, 0], images[:, 1]) and np.array_equal(images[:, 0], images[:, 2])


def test_stacked_pixels_come_back() -> None:
    pairs = [draw_pair(drawn_face(seed), SampleSettings(), np.random.default_rng(seed)) for seed in range(3)]
    batch = stack(pairs)
    assert batch.degraded.min() >= -1 and batch.degraded.max() <= 1
    for row, pair in enumerate(pairs):
        pixels = ((batch.degraded[row] + 1) * 127.5).permute(1, 2, 0).numpy()
        assert np.abs(pixels - pair.degraded).max() < 1e-3
