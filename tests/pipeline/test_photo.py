"""The whole way of one photograph, with networks whose output is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ImageCms

from restorer.api import Restorer
from restorer.errors import OutOfMemoryError, PhotoError, RestorerError
from restorer.options import RestoreOptions
from restorer.photo import DIGITAL_SOURCE, Metadata, Photo
from restorer.pipeline import photo as steps
from restorer.pipeline.upsample import enlarge
from restorer.report import Status
from tests.fakes import (
    SIZE,
    FakeEngine,
    FakeNetworks,
    brighter,
    face_at,
    failing_on,
    fitting,
    many_faces,
    no_face,
    not_a_number,
    short_of_memory,
)


def smooth(height: int, width: int, *, grey: bool = False, depth: int = 8) -> Photo:
    """Return a photograph of gentle waves, without a detail that any resampling could lose."""
    y, x = np.mgrid[:height, :width] / 40
    waves = [np.sin(x + phase) * np.cos(y - phase) for phase in ((0, 0, 0) if grey else (0, 1, 2))]
    values = 110 + 60 * np.stack(waves, axis=-1)
    pixels = np.rint(values * 257).astype(np.uint16) if depth == 16 else np.rint(values).astype(np.uint8)
    return Photo(pixels, None, grey, "PNG", Metadata())


def restore(photo: Photo, networks: FakeNetworks | None = None, **options: Any) -> steps.Restoration:
    return Restorer(RestoreOptions(**options), engines=networks or FakeNetworks(engine=FakeEngine(brighter))).restore(
        photo
    )


def test_a_face_is_restored_and_reported() -> None:
    photo = smooth(160, 200)
    result = restore(photo, strength=0.5)
    report = result.report
    assert report.status is Status.RESTORED and report.reason is None
    assert (report.size_in, report.size_out) == ((200, 160), (400, 320))
    assert [face.restored for face in report.faces] == [True]
    assert (report.model, report.mask, report.device) == (steps.ModelReport("fake", "0" * 64, False), "points", "cpu")
    assert set(report.seconds) >= {"detect", "align", "restore", "paste", "upsample"}
    plain = enlarge(photo.pixels, 2)
    # a tenth of 255 brighter, at half strength
    difference = result.photo.pixels[160, 200].astype(int) - plain[160, 200]
    assert np.abs(difference - 12.75).max() <= 2
    assert np.array_equal(result.photo.pixels[:4], plain[:4])


def test_generated_pixels_are_disclosed() -> None:
    xmp = restore(smooth(160, 200)).photo.metadata.xmp
    assert xmp is not None and DIGITAL_SOURCE.encode() in xmp and b"fake" in xmp
    assert restore(smooth(160, 200), disclose="none").photo.metadata.xmp is None


def test_without_a_face_it_is_the_plain_enlargement_and_says_nothing() -> None:
    photo, networks = smooth(160, 200), FakeNetworks(no_face)
    result = restore(photo, networks)
    assert (result.report.status, result.report.reason) == (Status.UNCHANGED, "no face found")
    assert result.photo.metadata.xmp is None and result.report.model is None
    assert np.array_equal(result.photo.pixels, enlarge(photo.pixels, 2))
    assert "face" not in networks.opened, "the face network must not be opened without a face"


def test_strength_zero_changes_nothing_and_opens_no_face_network() -> None:
    photo, networks = smooth(160, 200), FakeNetworks()
    result = restore(photo, networks, strength=0.0)
    assert np.array_equal(result.photo.pixels, enlarge(photo.pixels, 2))
    assert (result.report.status, result.photo.metadata.xmp) == (Status.UNCHANGED, None)
    assert result.report.faces[0].reason == "the strength is 0" and "face" not in networks.opened


def test_identity_network_gives_the_plain_enlargement_within_two_levels() -> None:
    for depth in (8, 16):
        photo = smooth(300, 300, depth=depth)
        result = restore(photo, FakeNetworks())
        off = np.abs(result.photo.pixels.astype(float) - enlarge(photo.pixels, 2)) / (257 if depth == 16 else 1)
        assert result.photo.pixels.dtype == photo.pixels.dtype and off.max() <= 2


def test_sixty_faces() -> None:
    result = restore(smooth(640, 640), FakeNetworks(many_faces(60), FakeEngine(brighter)), upscale=1)
    assert result.report.restored_faces == 60


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"faces": "largest"}, [False, True, False]),
        ({"faces": "center"}, [False, False, True]),
        ({"min_face": 50}, [False, True, True]),
        ({"min_face": 50, "max_face": 90}, [False, False, True]),
        ({"min_face": 50, "max_face": 90, "faces": "largest"}, [False, False, True]),
        ({"min_face": 120}, [False, False, False]),
    ],
)
def test_selection(options: dict[str, Any], kept: list[bool]) -> None:
    faces = [face_at(40, 40, 40), face_at(230, 230, 100), face_at(140, 140, 60)]
    report = restore(smooth(300, 300), FakeNetworks(lambda pixels: faces), upscale=1, **options).report
    assert [face.restored for face in report.faces] == kept
    assert all((face.reason is None) is restored for face, restored in zip(report.faces, kept, strict=True))
    assert (report.status is Status.RESTORED) is any(kept)


def test_face_that_cannot_be_aligned_is_left_alone() -> None:
    odd = replace(face_at(80, 80, 60), landmarks=np.full((5, 2), 80, np.float32))
    report = restore(smooth(160, 160), FakeNetworks(lambda pixels: [odd, face_at(80, 80, 60)])).report
    assert [face.restored for face in report.faces] == [False, True]
    assert "cannot be aligned" in str(report.faces[0].reason)


def test_black_and_white_stays_so() -> None:
    def red(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        batch = batch.copy()
        batch[:, 0] += 0.5
        return batch

    result = restore(smooth(160, 160, grey=True), FakeNetworks(engine=FakeEngine(red)))
    pixels = result.photo.pixels
    assert np.array_equal(pixels[..., 0], pixels[..., 1]) and np.array_equal(pixels[..., 0], pixels[..., 2])
    coloured = restore(smooth(160, 160), FakeNetworks(engine=FakeEngine(red)), colorize=True).photo.pixels
    assert coloured[160, 160, 0] > smooth(160, 160).pixels[80, 80, 0] + 20


def test_network_sees_srgb_and_the_profile_stays() -> None:
    seen: list[NDArray[np.float32]] = []

    def look(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(batch)
        return batch

    flat = np.full((160, 160, 3), (200, 100, 50), np.uint8)
    # linear light in the primaries of sRGB: value 100/255 is encoded as 168 in sRGB
    profile = _linear_profile()
    photo = Photo(flat, None, False, "PNG", Metadata(icc=profile))
    result = restore(photo, FakeNetworks(engine=FakeEngine(look)))
    crop = (seen[0][0, :, SIZE // 2, SIZE // 2] + 1) * 127.5
    expected = [255 * (1.055 * (v / 255) ** (1 / 2.4) - 0.055) for v in (200, 100, 50)]
    assert np.abs(crop - expected).max() < 1
    assert np.abs(result.photo.pixels.astype(int) - flat[0, 0]).max() <= 1
    assert result.photo.metadata.icc == profile


def _linear_profile() -> bytes:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(profile[128:132], "big")
    for number in range(count):
        entry = 132 + 12 * number
        if profile[entry : entry + 4] in (b"rTRC", b"gTRC", b"bTRC"):
            offset = int.from_bytes(profile[entry + 4 : entry + 8], "big")
            profile[offset : offset + 12] = b"curv" + bytes(8)  # no entries: the identity
    return bytes(profile)


def test_transparency_is_enlarged() -> None:
    alpha = np.tile(np.linspace(0, 255, 160).astype(np.uint8), (160, 1))
    result = restore(replace(smooth(160, 160), alpha=alpha))
    assert result.photo.alpha is not None and np.array_equal(result.photo.alpha, enlarge(alpha, 2))


def test_aligned_faces_are_restored_whole() -> None:
    photo = smooth(SIZE, SIZE)
    result = restore(photo, aligned=True, upscale=1, colorize=True)
    assert np.abs(result.photo.pixels.astype(float) - photo.pixels - 25.5).max() <= 1
    assert result.report.faces[0].restored and result.report.mask is None
    half = restore(photo, aligned=True, upscale=2, strength=0.5)
    assert half.photo.size == (2 * SIZE, 2 * SIZE)
    with pytest.raises(PhotoError, match="square crops"):
        restore(smooth(100, 120), aligned=True)
    still = restore(photo, aligned=True, strength=0.0)
    assert np.array_equal(still.photo.pixels, enlarge(photo.pixels, 2)) and still.report.status is Status.UNCHANGED


def test_background_network_counts_as_generated() -> None:
    def enlarged(pixels: NDArray[Any], width: int, height: int) -> NDArray[Any]:
        return np.full((height, width, 3), 7, pixels.dtype)

    networks = FakeNetworks(no_face, enlarge=enlarged)
    result = restore(smooth(100, 100), networks, bg_upsampler="realesrgan", upscale=1.5)
    assert result.photo.size == (150, 150) and (result.photo.pixels == 7).all()
    assert result.report.bg_upsampler == "realesrgan" and result.report.status is Status.UNCHANGED
    assert result.photo.metadata.xmp is not None and b"realesrgan" in result.photo.metadata.xmp


def test_parser_draws_the_mask_where_it_is_at_hand() -> None:
    def parse(crop: NDArray[np.float32]) -> NDArray[Any]:
        y, x = np.mgrid[:512, :512]
        return (np.hypot(x - 256, (y - 280) / 1.3) < 130).astype(np.uint8)

    assert restore(smooth(160, 160), FakeNetworks(parse=parse)).report.mask == "bisenet"
    empty = restore(smooth(160, 160), FakeNetworks(parse=lambda crop: np.zeros((512, 512), np.uint8))).report
    assert empty.mask == "points" and "parser" in empty.warnings[0]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (not_a_number, RestorerError),
        (lambda batch: batch[:, :, :-1], RestorerError),
        (short_of_memory, OutOfMemoryError),
        (failing_on(1, RuntimeError("no luck")), RuntimeError),
    ],
)
def test_a_failing_network_never_passes_the_crop_on(change: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        restore(smooth(160, 160), FakeNetworks(engine=FakeEngine(change)))


def test_batch_is_halved_until_it_fits_and_the_report_says_so() -> None:
    engine = FakeEngine(fitting(3), device="cuda")
    result = restore(smooth(400, 400), FakeNetworks(many_faces(9), engine, batch=8), upscale=1)
    assert result.report.restored_faces == 9
    assert engine.batches == [8, 4, 2, 2, 2, 2, 1]
    assert any("did not fit into memory" in warning for warning in result.report.warnings)


def test_cpu_takes_one_face_at_a_time() -> None:
    engine = FakeEngine()
    restore(smooth(400, 400), FakeNetworks(many_faces(4), engine, batch=8), upscale=1)
    assert engine.batches == [1, 1, 1, 1]


def test_result_is_the_same_twice() -> None:
    first, second = (restore(smooth(200, 200)).photo.pixels for _ in range(2))
    assert np.array_equal(first, second)


def test_comparison_and_pairs() -> None:
    options = RestoreOptions(disclose="caption", colorize=True)
    result = Restorer(options, engines=FakeNetworks(engine=FakeEngine(brighter))).restore(smooth(200, 200))
    captioned, bare = steps.comparison(result, options), steps.comparison(result, RestoreOptions())
    assert captioned.size[0] > 2 * 400 and captioned.size[1] > bare.size[1]
    assert bare.metadata.xmp is not None and DIGITAL_SOURCE.encode() in bare.metadata.xmp
    (pair,) = steps.face_pairs(result, options)
    assert pair.size == (2 * SIZE, SIZE)
    left, right = pair.pixels[SIZE // 2, SIZE // 2], pair.pixels[SIZE // 2, SIZE + SIZE // 2]
    assert np.abs(right.astype(int) - left - 25.5).max() <= 1
