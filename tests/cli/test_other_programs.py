"""ExifTool and ImageMagick see in the results what Pillow sees; skipped where they are not installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.cli.conftest import Run
from tests.photo import samples

WIDTH, HEIGHT = 96, 80
DPI = 300
needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
needs_identify = pytest.mark.skipif(shutil.which("identify") is None, reason="ImageMagick is not installed")
THUMBNAIL = samples.saved(Image.new("RGB", (16, 12)), "JPEG")
IPTC = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + len(samples.IPTC).to_bytes(4, "big") + samples.IPTC


def write(name: str) -> Path:
    """Write a photograph that says a lot about itself: EXIF with GPS and thumbnail, XMP, profile, resolution, IPTC."""
    path = Path(name)
    image = Image.fromarray(samples.gradient(HEIGHT, WIDTH))
    exif, icc = samples.exif(6, thumbnail=THUMBNAIL), samples.p3()
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", samples.XMP.decode())
    tags = {0x0112: 6, 0x010F: "Kodak", 700: samples.XMP, 33723: samples.IPTC, 0x8769: {0x9003: "1964:05:17 12:00:00"}}
    settings = {
        ".jpg": {"exif": b"Exif\0\0" + exif, "xmp": samples.XMP, "dpi": (DPI, DPI), "quality": 95},
        ".png": {"exif": exif, "pnginfo": text, "dpi": (DPI, DPI)},
        ".webp": {"exif": exif, "xmp": samples.XMP},
        ".tif": {"tiffinfo": tags, "dpi": (DPI, DPI)},
    }[path.suffix]
    image.save(path, icc_profile=icc, **settings)
    if path.suffix == ".jpg":
        data = path.read_bytes()
        path.write_bytes(data[:2] + b"\xff\xed" + (len(IPTC) + 2).to_bytes(2, "big") + IPTC + data[2:])
    return path


def exiftool(path: Path) -> dict[str, object]:
    done = subprocess.run(
        ["exiftool", "-j", "-n", "-G1", "-a", "-all", "-validate", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    (found,) = json.loads(done.stdout)
    return found


KEPT = {
    ".jpg": ["IFD0:Make", "ExifIFD:DateTimeOriginal", "GPS:GPSLatitude", "XMP-dc:Creator", "IPTC:By-line", "IPTC:City"],
    ".png": ["IFD0:Make", "ExifIFD:DateTimeOriginal", "GPS:GPSLatitude", "XMP-dc:Creator"],
    ".webp": ["IFD0:Make", "ExifIFD:DateTimeOriginal", "GPS:GPSLatitude", "XMP-dc:Creator"],
    ".tif": ["IFD0:Make", "ExifIFD:DateTimeOriginal", "XMP-dc:Creator", "IPTC:By-line", "IPTC:City"],
}


@needs_exiftool
@pytest.mark.parametrize("suffix", KEPT)
def test_exiftool_finds_what_was_kept(run: Run, photo: Path, suffix: str) -> None:
    source = write(f"photo{suffix}")
    assert run(source, "--no-compare").exit_code == 0
    before, after = exiftool(source), exiftool(Path(f"restored/photo{suffix}"))
    for tag in KEPT[suffix]:
        assert before[tag] == after[tag], tag
    profile = {tag: value for tag, value in before.items() if tag.startswith("ICC")}
    assert profile and profile == {tag: after.get(tag) for tag in profile}
    assert before["IFD0:Orientation"] == 6 and after.get("IFD0:Orientation", 1) == 1
    assert not [tag for tag in after if "Thumbnail" in tag]
    size = [value for tag, value in after.items() if tag.endswith((":ImageWidth", ":ImageHeight"))]
    assert sorted(set(map(int, map(str, size)))) == [2 * HEIGHT, 2 * WIDTH]
    assert str(after["XMP-iptcExt:DigitalSourceType"]).endswith("compositeWithTrainedAlgorithmicMedia")
    with Image.open(f"restored/photo{suffix}") as image:
        assert image.getexif().get(0x010F) == after["IFD0:Make"] and image.size == (2 * HEIGHT, 2 * WIDTH)
    # errors, warnings, minor ones: a result is at least as sound as what went in
    errors, warnings, _ = (int(part) for part in str(after["ExifTool:Validate"]).split())
    assert errors == 0 and warnings <= int(str(before["ExifTool:Validate"]).split()[1])


@needs_identify
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_imagemagick_agrees_with_pillow(run: Run, photo: Path, suffix: str) -> None:
    source, result = write(f"photo{suffix}"), Path(f"restored/photo{suffix}")
    assert run(source, "--no-compare").exit_code == 0
    form = "%m %w %h %z %[channels] %[profile:icc] %x %U\n"
    line = ["identify", "-format", form]
    before, done = (subprocess.run([*line, str(path)], capture_output=True, text=True) for path in (source, result))
    # ImageMagick 6 doubts any XMP in WebP; it must doubt nothing else, and nothing more than in what Pillow wrote.
    assert done.returncode == 0 and done.stderr.replace("restored/", "") == before.stderr
    kind, width, height, depth, *rest = done.stdout.split()
    with Image.open(result) as image:
        assert (kind, int(width), int(height)) == (image.format, *image.size) and int(depth) == 8
        assert image.info.get("icc_profile") == samples.p3() and "test" in rest
        if suffix in (".jpg", ".tif"):
            assert round(image.info["dpi"][0]) == DPI and str(DPI) in rest


@needs_identify
def test_imagemagick_reads_16_bits_to_the_last_one(run: Run, photo: Path) -> None:
    deep = samples.noise(64, 72, 3, np.uint16, seed=3)
    Path("deep.png").write_bytes(samples.png16(deep))
    assert run("deep.png", "--upscale", "1", "--strength", "0", "--no-compare").exit_code == 0
    done = subprocess.run(
        ["convert", "restored/deep.png", "-depth", "16", "-endian", "MSB", "rgb:-"], capture_output=True
    )
    assert np.array_equal(np.frombuffer(done.stdout, ">u2").reshape(deep.shape), deep)
