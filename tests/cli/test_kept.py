"""What a photograph's file says and how it holds its pixels come through the command, format by format."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from restorer.photo import DIGITAL_SOURCE
from tests.cli.conftest import Run
from tests.fakes import FakeNetworks, no_face
from tests.photo import samples

WIDTH, HEIGHT = 96, 80
SCENE = samples.gradient(HEIGHT, WIDTH)


def _inside_png() -> PngInfo:
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", samples.XMP.decode())
    return info


def _settings(name: str) -> dict[str, object]:
    """How Pillow writes a photograph of a camera held upright (orientation 6), in Display P3, with EXIF and XMP."""
    common = {"icc_profile": samples.p3(), "exif": samples.exif(6)}
    jpeg = {"exif": b"Exif\0\0" + samples.exif(6)}  # Pillow leaves the prefix to its callers there
    return {
        "JPEG": {**common, **jpeg, "xmp": samples.XMP, "quality": 95},
        "PNG": {**common, "pnginfo": _inside_png()},
        "WEBP": {**common, "xmp": samples.XMP, "quality": 95},
        "AVIF": {**common, "xmp": samples.XMP, "quality": 95},
        "HEIF": {**common, "xmp": samples.XMP, "quality": 95},
        "TIFF": {
            "icc_profile": samples.p3(),
            "tiffinfo": {0x0112: 6, 0x010F: "Kodak", 700: samples.XMP, 0x8769: {0x9003: "1964:05:17 12:00:00"}},
        },
    }[name]


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_metadata_and_orientation(run: Run, photo: Path, name: str) -> None:
    if name == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    suffix = {"TIFF": ".tif", "HEIF": ".heic"}.get(name, f".{name.lower()}")
    lying = Image.fromarray(np.ascontiguousarray(np.rot90(SCENE)))  # as the sensor of a turned camera sees it
    lying.save(f"camera{suffix}", name, **_settings(name))
    result = run(f"camera{suffix}", "--no-compare")
    assert result.exit_code == 0 and "1 face restored" in result.stderr
    with Image.open(f"restored/camera{suffix}") as image:
        assert (image.format, image.mode, image.size) == (name, "RGB", (2 * WIDTH, 2 * HEIGHT))
        tags, packet, icc = image.getexif(), image.info["xmp"], image.info["icc_profile"]
        inner = tags.get_ifd(ExifTags.IFD.Exif)
        pixels = np.asarray(image).astype(int)
    assert tags.get(ExifTags.Base.Orientation, 1) == 1
    assert tags[ExifTags.Base.Make] == "Kodak" and inner[ExifTags.Base.DateTimeOriginal] == "1964:05:17 12:00:00"
    if name != "TIFF":
        assert tags.get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"
        assert (inner[ExifTags.Base.ExifImageWidth], inner[ExifTags.Base.ExifImageHeight]) == (192, 160)
    assert icc == samples.p3()
    for words in ("Aunt Märy", "Scanner 3", DIGITAL_SOURCE, 'restorer:Model="fake"'):
        assert words in packet.decode(), words
    assert b'Orientation="6"' not in packet
    # The corners lie outside of the face: top left dark, red growing to the right, green downwards.
    corners = pixels[[3, 3, -4, -4], [3, -4, 3, -4]]
    assert np.abs(corners[:, 0] - [0, 255, 0, 255]).max() < 20 and np.abs(corners[:, 1] - [0, 0, 255, 255]).max() < 20


def test_a_photograph_without_a_face_says_nothing_of_generated_pixels(
    run: Run, networks: FakeNetworks, photo: Path
) -> None:
    networks._find = no_face
    Image.fromarray(SCENE).save("camera.jpg", xmp=samples.XMP)
    assert run("camera.jpg", "--upscale", "1").exit_code == 0
    with Image.open("restored/camera.jpg") as image:
        assert b"DigitalSourceType" not in image.info["xmp"] and b"Scanner 3" in image.info["xmp"]


def test_bmp_keeps_its_resolution_and_says_what_it_cannot_hold(run: Run, photo: Path) -> None:
    Image.fromarray(SCENE).save("scan.bmp", dpi=(300, 300))
    result = run("scan.bmp", "--no-compare")
    assert result.exit_code == 0 and "BMP holds no EXIF, XMP, IPTC or colour profile" in result.stderr
    with Image.open("restored/scan.bmp") as image:
        assert (image.format, image.size) == ("BMP", (2 * WIDTH, 2 * HEIGHT))
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("icc", [samples.p3(), samples.adobe()], ids=["p3", "adobe"])
def test_a_wide_profile_stays_and_so_does_every_pixel_away_from_the_face(
    run: Run, photo: Path, suffix: str, icc: bytes
) -> None:
    Image.fromarray(SCENE).save(f"wide.{suffix}", icc_profile=icc)
    assert run(f"wide.{suffix}", "--no-compare", "--upscale", "1").exit_code == 0
    with Image.open(f"restored/wide.{suffix}") as image:
        assert image.info["icc_profile"] == icc
        found = np.asarray(image)
    for edge in (np.s_[:4], np.s_[-4:], np.s_[:, :4], np.s_[:, -4:]):
        assert np.array_equal(found[edge], SCENE[edge])
    assert not np.array_equal(found, SCENE)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_dark_16_bits(run: Run, photo: Path, suffix: str, channels: int) -> None:
    dark = samples.gradient(HEIGHT, WIDTH, np.uint16) // 512  # nothing above 127 of 65535
    values = {1: dark[..., 0], 3: dark, 4: np.dstack([dark, 65535 - dark[..., 0]])}[channels]
    assert cv2.imwrite(f"dark.{suffix}", values)
    assert run(f"dark.{suffix}", "--no-compare", "--upscale", "1").exit_code == 0
    found = cv2.imread(f"restored/dark.{suffix}", cv2.IMREAD_UNCHANGED)
    assert found is not None and found.dtype == np.uint16 and found.shape == values.shape
    for edge in (np.s_[:4], np.s_[-4:], np.s_[:, :4], np.s_[:, -4:]):
        assert np.array_equal(found[edge], values[edge])
    raised = np.atleast_1d(found[HEIGHT // 2, WIDTH // 2].astype(int) - values[HEIGHT // 2, WIDTH // 2])
    assert np.abs(raised[:3] - 25.5 * 257).max() < 0.02 * 65535  # the network's tenth of the range


@pytest.mark.parametrize(
    ("mode", "suffix", "written", "result"),
    [
        ("L", "jpg", "L", "jpg"),
        ("L", "png", "L", "png"),
        ("LA", "png", "LA", "png"),
        ("RGBA", "png", "RGBA", "png"),
        ("RGBA", "webp", "RGBA", "webp"),
        ("RGBA", "tif", "RGBA", "tif"),
        ("RGBA", "avif", "RGBA", "avif"),
        ("P", "png", "RGB", "png"),
        ("P", "gif", "RGB", "png"),
        ("P", "bmp", "RGB", "png"),
        ("1", "tif", "L", "png"),
        ("CMYK", "jpg", "RGB", "jpg"),
        ("CMYK", "tif", "RGB", "tif"),
    ],
)
def test_channels(run: Run, photo: Path, mode: str, suffix: str, written: str, result: str) -> None:
    source = Image.fromarray(SCENE).convert(mode)
    if mode.endswith("A"):
        source.putalpha(Image.fromarray(SCENE[..., 0]))
    source.save(f"scan.{suffix}")
    done = run(f"scan.{suffix}", "--no-compare")
    assert done.exit_code == 0 and "1 face restored" in done.stderr
    assert [path.name for path in Path("restored").iterdir()] == [f"scan.{result}"]
    if suffix != result:
        assert "is written as PNG" in done.stderr
    with Image.open(f"restored/scan.{result}") as image:
        assert (image.mode, image.size) == (written, (2 * WIDTH, 2 * HEIGHT))
        if mode.endswith("A"):
            alpha = np.asarray(image.getchannel("A")).astype(int)
            plain = np.asarray(Image.fromarray(SCENE[..., 0]).resize(image.size, Image.Resampling.BILINEAR)).astype(int)
            assert np.abs(alpha - plain).max() <= 8


def test_a_grey_profile_stays_with_a_grey_photograph(run: Run, photo: Path) -> None:
    grey = samples.profile(None, samples.parametric(0, (1.8,)))
    Image.fromarray(SCENE[..., 0]).save("grey.png", icc_profile=grey)
    assert run("grey.png", "--no-compare").exit_code == 0
    with Image.open("restored/grey.png") as image:
        assert image.mode == "L" and image.info["icc_profile"] == grey


def test_printing_colours_become_srgb_without_the_old_profile(run: Run, photo: Path) -> None:
    Image.new("CMYK", (WIDTH, HEIGHT), (0, 0, 0, 51)).save("print.tif", icc_profile=b"nonsense" * 40)
    result = run("print.tif", "--no-compare")
    assert result.exit_code == 0 and "printing colours (CMYK)" in result.stderr
    with Image.open("restored/print.tif") as image:
        assert image.mode == "RGB" and "icc_profile" not in image.info
        assert np.abs(np.asarray(image)[:4].astype(int) - 204).max() <= 1


def test_the_comparison_has_the_photographs_profile(run: Run, photo: Path) -> None:
    adobe = samples.adobe()
    Image.fromarray(SCENE).save("wide.png", icc_profile=adobe)
    assert run("wide.png", "--save-faces").exit_code == 0
    for name in ("wide.png", "comparisons/wide.png.jpg", "faces/wide.png_00.png"):
        with Image.open(f"restored/{name}") as image:
            assert image.info["icc_profile"] == adobe, name
