"""What is written: the same depth, channels and metadata as were read, whole or not at all."""

import errno
import io
import os
import struct
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from restorer.errors import OutputError
from restorer.photo import (
    FORMATS,
    Header,
    Metadata,
    Photo,
    fit_format,
    format_of,
    read_photo,
    result_format,
    result_name,
    with_provenance,
    write_photo,
)
from tests.photo import samples

WRITTEN = [name for name, kind in FORMATS.items() if kind.depths]
RICH = ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF", "JPEG2000"]
LOSSLESS = ["PNG", "TIFF", "BMP", "JPEG2000", "PPM"]
DEEP = [("PNG", np.uint16), ("TIFF", np.uint16)]


def _photo(pixels: np.ndarray, **fields: object) -> Photo:
    return replace(Photo(pixels, None, False, "PNG", Metadata()), **fields)


def _again(photo: Photo, name: str, **settings: int) -> Photo:
    if name == "HEIF":
        pytest.importorskip("pillow_heif")
    stream = io.BytesIO()
    assert write_photo(photo, stream, format=name, **settings) == name
    return read_photo(stream.getvalue())


# Pixels


@pytest.mark.parametrize("name", LOSSLESS)
def test_8_bits_come_back(name: str) -> None:
    pixels = samples.noise(33, 41, 3, np.uint8)
    assert np.array_equal(_again(_photo(pixels), name).pixels, pixels)


@pytest.mark.parametrize("name", ["PNG", "TIFF", "PPM"])
@pytest.mark.parametrize("grey", [False, True])
def test_dark_16_bits_come_back(name: str, grey: bool) -> None:
    pixels = samples.noise(33, 41, 3, np.uint16) >> 9
    if grey:
        pixels = np.repeat(pixels[..., :1], 3, 2)
    again = _again(_photo(pixels, grey=grey), name)
    assert again.depth == 16 and again.grey == grey
    assert np.array_equal(again.pixels, pixels)


@pytest.mark.parametrize(("name", "dtype"), [*DEEP, ("PNG", np.uint8), ("TIFF", np.uint8), ("JPEG2000", np.uint8)])
@pytest.mark.parametrize("grey", [False, True])
def test_alpha_comes_back(name: str, dtype: type, grey: bool) -> None:
    pixels, alpha = samples.noise(33, 41, 3, dtype), samples.noise(33, 41, None, dtype, seed=1)
    if grey:
        pixels = np.repeat(pixels[..., :1], 3, 2)
    again = _again(_photo(pixels, alpha=alpha, grey=grey), name)
    assert np.array_equal(again.pixels, pixels) and np.array_equal(again.alpha, alpha)


@pytest.mark.parametrize("name", ["WEBP", "AVIF", "HEIF"])
def test_alpha_of_lossy_formats(name: str) -> None:
    pixels, alpha = samples.gradient(64, 64), samples.gradient(64, 64)[..., 0]
    again = _again(_photo(pixels, alpha=alpha), name)
    assert again.alpha is not None and np.abs(again.alpha.astype(int) - alpha).max() < 12


@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF", "BMP", "JPEG2000", "PPM"])
def test_grey_stays_one_channel(name: str) -> None:
    pixels = np.repeat(samples.gradient()[..., :1], 3, 2)
    stream = io.BytesIO()
    write_photo(_photo(pixels, grey=True), stream, format=name)
    with Image.open(stream) as image:
        assert image.mode == "L"
    coloured = pixels.copy()
    coloured[0, 0, 0] ^= 64
    stream = io.BytesIO()
    write_photo(_photo(coloured, grey=True), stream, format=name)
    with Image.open(stream) as image:
        assert image.mode == "RGB"


def test_lossless_webp_stays_lossless() -> None:
    pixels = samples.noise(16, 16, 3, np.uint8)
    again = _again(_photo(pixels, lossless=True), "WEBP")
    assert again.lossless and np.array_equal(again.pixels, pixels)
    assert not _again(_photo(pixels, lossless=True), "WEBP", quality=80).lossless


@pytest.mark.parametrize(
    ("own", "asked", "written"), [(None, None, 92), (60, None, 92), (97, None, 97), (97, 40, 40), (100, None, 100)]
)
def test_jpeg_quality(own: int | None, asked: int | None, written: int) -> None:
    assert _again(_photo(samples.gradient(), quality=own), "JPEG", quality=asked).quality == written


@pytest.mark.parametrize("own", ["4:4:4", "4:2:2", "4:2:0", None])
@pytest.mark.parametrize("name", ["JPEG", "AVIF", "HEIF"])
def test_chroma_is_no_coarser_than_it_came(name: str, own: str | None) -> None:
    assert _again(_photo(samples.gradient(), subsampling=own), name).subsampling == (own or "4:4:4")


# Metadata


def _rich_metadata() -> Metadata:
    text = (("Comment", "found in the attic"), ("Title", "Tante Märy"))
    return Metadata(samples.p3(), samples.exif(1), samples.XMP, samples.IPTC, (300.0, 300.0), text)


@pytest.mark.parametrize(("name", "dtype"), [*((name, np.uint8) for name in RICH), *DEEP])
def test_metadata_come_back(name: str, dtype: type) -> None:
    again = _again(_photo(samples.gradient(48, 64, dtype), metadata=_rich_metadata()), name).metadata
    assert again.xmp is not None and "Aunt Märy" in again.xmp.decode() and "Scanner 3" in again.xmp.decode()
    assert again.exif is not None
    tags = Image.Exif()
    tags.load(again.exif)
    assert tags[ExifTags.Base.Make] == "Kodak"
    assert tags.get(ExifTags.Base.Orientation, 1) == 1
    inner = tags.get_ifd(ExifTags.IFD.Exif)
    assert inner[ExifTags.Base.DateTimeOriginal] == "1964:05:17 12:00:00"
    assert inner[ExifTags.Base.MakerNote] == b"maker's note"
    assert (inner[ExifTags.Base.ExifImageWidth], inner[ExifTags.Base.ExifImageHeight]) == (64, 48)
    gps = tags.get_ifd(ExifTags.IFD.GPSInfo)
    assert gps[1] == "N" and [float(part) for part in gps[2]] == [47, 4, 12.34]
    assert again.icc == samples.p3()
    if name in ("JPEG", "PNG", "TIFF"):
        assert again.iptc == samples.IPTC
        assert again.dpi == pytest.approx((300, 300), abs=0.02)
    texts = {"PNG": ("Comment", "Title"), "JPEG": ("Comment",)}.get(name, ())
    assert again.text == tuple((key, value) for key, value in _rich_metadata().text if key in texts)


@pytest.mark.parametrize("name", RICH)
def test_provenance_is_in_every_format_that_holds_it(name: str) -> None:
    metadata = with_provenance(_rich_metadata(), tool="restorer", version="1.2", model="GFPGAN 1.4", strength=0.8)
    xmp = _again(_photo(samples.gradient(48, 64), metadata=metadata), name).metadata.xmp
    assert xmp is not None
    for part in ("compositeWithTrainedAlgorithmicMedia", "GFPGAN 1.4", 'Strength="0.8"', "Aunt Märy"):
        assert part in xmp.decode()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_a_maker_note_keeps_its_place(order: str, name: str) -> None:
    block = samples.exif(1, order)
    again = _again(_photo(samples.gradient(), metadata=Metadata(exif=block)), name).metadata.exif
    assert again is not None and len(again) == len(block)
    assert again.index(b"maker's note") == block.index(b"maker's note")


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_of_either_byte_order_goes_into_tiff(order: str) -> None:
    again = _again(_photo(samples.gradient(), metadata=Metadata(exif=samples.exif(1, order))), "TIFF")
    tags = Image.Exif()
    tags.load(again.metadata.exif)
    assert [float(part) for part in tags.get_ifd(ExifTags.IFD.GPSInfo)[2]] == [47, 4, 12.34]


@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF"])
def test_resolution_in_units_others_read(name: str) -> None:
    stream = io.BytesIO()
    write_photo(_photo(samples.gradient(), metadata=Metadata(dpi=(240.0, 240.0))), stream, format=name)
    with Image.open(stream) as image:
        assert [float(v) for v in image.info["dpi"]] == pytest.approx([240, 240], abs=0.02)
    assert _again(_photo(samples.gradient()), name).metadata.dpi is None


def test_colour_chunks_of_a_png_stay() -> None:
    gamma = samples.png_chunk(b"gAMA", struct.pack(">I", 55000))
    photo = read_photo(samples.png16(samples.gradient(dtype=np.uint16), gamma))
    assert photo.metadata.png_colour == gamma
    assert _again(photo, "PNG").metadata.png_colour == gamma


def test_jpeg_pieces_that_are_too_long() -> None:
    long = "".join(f"<dc:title>{'long ' * 9000}</dc:title>" for _ in range(2))
    packet = samples.XMP.replace(b"<dc:creator>", long.encode() + b"<dc:creator>")
    icc = samples.p3() + bytes(150_000)
    records = samples.IPTC * 9000
    photo = _photo(
        samples.gradient(), metadata=Metadata(icc=icc, xmp=packet, iptc=records, exif=samples.exif(1) + bytes(70000))
    )
    again = _again(photo, "JPEG")
    assert again.metadata.icc == icc and again.metadata.iptc == records and again.metadata.exif is None
    assert again.metadata.xmp is not None and "Aunt Märy" in again.metadata.xmp.decode()
    words = " ".join(fit_format(photo, "JPEG").warnings)
    assert "EXIF data are too long" in words and "longest properties are left out" in words


def test_a_grey_profile_leaves_a_photograph_that_became_coloured() -> None:
    grey = samples.profile(None, samples.parametric(0, (2.2,)))
    photo = _photo(samples.gradient(), grey=True, metadata=Metadata(icc=grey))
    assert _again(photo, "PNG").metadata.icc is None
    assert "grey profile" in fit_format(photo, "PNG").warnings[0]


# What a format cannot hold


def test_alpha_is_put_on_white_and_depth_reduced_with_a_word() -> None:
    pixels = np.full((2, 2, 3), 0x8180, np.uint16)
    alpha = np.array([[65535, 0], [0, 65535]], np.uint16)
    photo = fit_format(_photo(pixels, alpha=alpha), "JPEG")
    assert photo.alpha is None and photo.depth == 8 and len(photo.warnings) == 2
    assert photo.pixels[..., 0].tolist() == [[129, 255], [255, 129]]


def test_reducing_rounds_to_nearest() -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1).repeat(3, 2)
    assert np.array_equal(fit_format(_photo(every), "JPEG").pixels, np.rint(every / 257).astype(np.uint8))


@pytest.mark.parametrize("name", ["BMP", "PPM"])
def test_formats_without_metadata_say_so(name: str) -> None:
    photo = fit_format(_photo(samples.gradient(), metadata=Metadata(xmp=samples.XMP)), name)
    assert photo.metadata.xmp is None and "left out" in photo.warnings[0]


def test_too_long_a_side() -> None:
    with pytest.raises(OutputError, match="WEBP allows 16383 pixels a side"):
        write_photo(_photo(np.zeros((1, 16384, 3), np.uint8)), io.BytesIO(), format="WEBP")


def _header(name: str, **fields: object) -> Header:
    return replace(Header(name, (1, 1), 8, False, False, False), **fields)


def test_result_formats_and_names() -> None:
    assert result_format("JPEG") == ("JPEG", ".jpg")
    assert result_format("GIF") == ("PNG", ".png")
    assert result_format(_header("PNG", indexed=True)) == ("PNG", ".png")
    assert result_format(_header("TIFF", indexed=True)) == ("PNG", ".png")
    assert result_format(_header("BMP", alpha=True)) == ("PNG", ".png")
    assert result_format(_header("GIF"), "webp") == ("WEBP", ".webp")
    assert result_format(_header("TIFF"), "auto") == ("TIFF", ".tif")
    with pytest.raises(OutputError, match="choose one of"):
        result_format("JPEG", "gif")
    assert result_name(Path("a/b.JPEG"), "JPEG") == Path("a/b.JPEG")
    assert result_name(Path("b.jpg"), "PNG") == Path("b.png")
    assert result_name(Path("b.gif"), "GIF") == Path("b.png")
    assert result_name(Path("aunt.mary"), "JPEG") == Path("aunt.mary.jpg")
    assert format_of(Path("x.TIFF")) == "TIFF"
    for odd in ("x.gif", "x.txt", "x"):
        with pytest.raises(OutputError, match="suffixes"):
            format_of(Path(odd))


def test_few_colours_become_png_with_a_word() -> None:
    photo = read_photo(samples.saved(Image.fromarray(samples.gradient()).quantize(8), "GIF"))
    stream = io.BytesIO()
    assert write_photo(photo, stream) == "PNG"
    assert "written as PNG" in fit_format(photo, "PNG").warnings[-1]


# Whole or not at all


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(b"the old file")
    return path


PHOTO = _photo(samples.gradient())


def _fails_and_leaves(old: Path, match: str) -> None:
    with pytest.raises(OutputError, match=match) as caught:
        write_photo(PHOTO, old)
    assert str(old) in str(caught.value) and str(caught.value).endswith(".")
    assert old.read_bytes() == b"the old file"
    assert [path.name for path in old.parent.iterdir()] == [old.name]


def test_full_disk(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    _fails_and_leaves(old, "the disk is full")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EIO])
def test_failing_rename(old: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, "Input/output error")

    monkeypatch.setattr(os, "replace", fail)
    _fails_and_leaves(old, "permission denied|read-only|Input/output error")


def test_interruption(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_photo(PHOTO, old)
    assert old.read_bytes() == b"the old file" and len(list(old.parent.iterdir())) == 1


def test_failing_encoder(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("encoder error -2")

    monkeypatch.setattr(Image.Image, "save", fail)
    _fails_and_leaves(old, "PNG could not hold it")


def test_missing_folder_and_odd_targets(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="its folder does not exist"):
        write_photo(PHOTO, tmp_path / "nowhere" / "x.png")
    with pytest.raises(OutputError, match="it is a folder"):
        write_photo(PHOTO, tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(OutputError, match="not an ordinary file"):
            write_photo(PHOTO, tmp_path / "pipe.png")


def test_replaces_and_has_the_usual_mode(old: Path) -> None:
    mask = os.umask(0o027)
    try:
        assert write_photo(PHOTO, old) == "PNG"
    finally:
        os.umask(mask)
    assert np.array_equal(read_photo(old).pixels, PHOTO.pixels)
    if os.name == "posix":
        assert old.stat().st_mode & 0o777 == 0o640


def test_long_names_and_other_scripts(tmp_path: Path) -> None:
    for stem in ("a" * 251, "ä" * 125, "祖母"):
        write_photo(PHOTO, tmp_path / f"{stem}.png")
        assert read_photo(tmp_path / f"{stem}.png").size == PHOTO.size


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux, text elsewhere")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    for name in (b"old scan \xff\xfe.png", b"\xe4" * 250 + b".png"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        write_photo(PHOTO, path)
        assert read_photo(path).size == PHOTO.size
        assert name in os.listdir(os.fsencode(tmp_path))  # noqa: PTH208 - names as bytes


def test_broken_pipe() -> None:
    class Gone(io.BytesIO):
        def write(self, _: object) -> int:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with pytest.raises(OutputError, match="the reader has gone away"):
        write_photo(PHOTO, Gone())


def test_same_bytes_every_time() -> None:
    streams = [io.BytesIO(), io.BytesIO()]
    for stream in streams:
        write_photo(_photo(samples.gradient(), metadata=_rich_metadata()), stream, format="JPEG")
    assert streams[0].getvalue() == streams[1].getvalue()


@pytest.mark.parametrize("name", WRITTEN)
def test_one_pixel(name: str) -> None:
    assert _again(_photo(np.full((1, 1, 3), 90, np.uint8)), name).size == (1, 1)


@pytest.mark.parametrize("kind", ["noisy", "grey in colour", "dots", "one colour", "narrow"])
def test_a_png_written_quickly_is_little_longer(kind: str) -> None:
    rng = np.random.default_rng(0)
    pixels = np.asarray(samples.gradient(300, 400), np.int16) // 2 + rng.integers(0, 20, (300, 400, 3), np.int16)
    if kind == "grey in colour":
        pixels[:] = pixels[..., :1]
    elif kind == "dots":  # nothing but repetitions
        pixels = np.tile(rng.integers(0, 256, (6, 8, 3), np.int16), (50, 50, 1))
    elif kind == "one colour":
        pixels[:] = 90
    elif kind == "narrow":
        pixels = pixels[:, :1]
    photo = _photo(pixels.astype(np.uint8))
    stream, usual = io.BytesIO(), io.BytesIO()
    write_photo(photo, stream)
    Image.fromarray(photo.pixels).save(usual, "PNG", compress_level=4)
    assert len(stream.getvalue()) < 1.2 * len(usual.getvalue()) + 200
    stream.seek(0)
    assert np.array_equal(np.asarray(Image.open(stream).convert("RGB")), photo.pixels)
