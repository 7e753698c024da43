"""What is read: every kind of picture as upright RGB in its own depth, and every bad input as one sentence."""

import io
import os
import struct
import sys
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from restorer.errors import PhotoError
from restorer.photo import MAX_MEGAPIXELS, exif, peek, read_photo
from tests.photo import samples

GRADIENT = samples.gradient()
DARK16 = (samples.noise(20, 30, 3, np.uint16) >> 9).astype(np.uint16)  # nothing above 127


# Depth


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [None, 3, 4])
def test_16_bit_tiff(order: str, channels: int | None) -> None:
    values = samples.noise(20, 30, channels, np.uint16) >> 9
    photo = read_photo(samples.tiff16(values, order))
    assert photo.pixels.dtype == np.uint16 and photo.depth == 16
    assert photo.grey == (channels is None)
    expected = np.repeat(values[..., None], 3, 2) if channels is None else values[..., :3]
    assert np.array_equal(photo.pixels, expected)
    assert np.array_equal(photo.alpha, values[..., 3]) if channels == 4 else photo.alpha is None


@pytest.mark.parametrize("channels", [None, 2, 3, 4])
def test_16_bit_png(channels: int | None) -> None:
    values = samples.noise(20, 30, channels, np.uint16) >> 9
    photo = read_photo(samples.png16(values))
    single = channels in (None, 2)
    assert photo.pixels.dtype == np.uint16 and photo.grey == single
    colours = values if channels is None else values[..., 0] if single else values[..., :3]
    assert np.array_equal(photo.pixels, np.repeat(colours[..., None], 3, 2) if single else colours)
    assert np.array_equal(photo.alpha, values[..., -1]) if channels in (2, 4) else photo.alpha is None


def test_16_bit_tiff_variants() -> None:
    values = samples.noise(8, 9, None, np.uint16)
    assert np.array_equal(read_photo(samples.tiff16(values, t262=(0,))).pixels[..., 0], 65535 - values)
    rgba = samples.noise(8, 9, 4, np.uint16)
    assert read_photo(samples.tiff16(rgba, t338=(0,))).alpha is None
    multiplied = np.array([[[20000, 10000, 5000, 32768]]], np.uint16)
    photo = read_photo(samples.tiff16(multiplied, t338=(1,)))
    assert photo.pixels[0, 0] == pytest.approx(multiplied[0, 0, :3] * (65535 / 32768), abs=1)


def test_12_bit_grey_tiff_fills_16_bits() -> None:
    row = bytes.fromhex("fff000800fff")  # 4095, 0, 2048, 4095 in 12 bits each
    tags = {256: 4, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 6}
    table = b"".join(struct.pack("<HHIHxx", tag, 3, 1, value) for tag, value in tags.items())
    data = b"II*\0" + struct.pack("<I", 14) + row + struct.pack("<H", len(tags)) + table + bytes(4)
    assert read_photo(data).pixels[0, :, 0].tolist() == [65535, 0, 2048 * 65535 // 4095, 65535]


def test_16_bit_ppm() -> None:
    head = b"P6\n# a scanner's\n30 20\n65535\n"
    photo = read_photo(head + DARK16.astype(">u2").tobytes())
    assert np.array_equal(photo.pixels, DARK16) and photo.pixels.dtype == np.uint16
    photo = read_photo(b"P5 2 1 1000\n" + struct.pack(">2H", 1000, 500))
    assert photo.grey and photo.pixels[0, :, 0].tolist() == [65535, 500 * 65535 // 1000]


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_planes(order: str) -> None:
    values = samples.noise(20, 30, 3, np.uint16)
    tags = dict(exif.read_directory(samples.tiff16(values, order, t284=(2,))).entries)
    planes = np.moveaxis(values, -1, 0).astype(order + "u2").tobytes()
    size = len(planes) // 3  # one strip a channel
    for tag, numbers in ((exif.STRIP_OFFSETS, (8, 8 + size, 8 + 2 * size)), (exif.STRIP_BYTES, (size, size, size))):
        tags[tag] = exif.entry(tag, exif.LONG, numbers, order)
    header = samples.tiff16(values, order)[:8]
    assert np.array_equal(read_photo(exif.with_directory(header + planes, tags.values())).pixels, values)


def test_float_tiff_is_refused_clearly() -> None:
    data = samples.saved(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF")
    with pytest.raises(PhotoError, match="no fixed white: save it as 16-bit"):
        read_photo(data, name="scan.tif")


def test_depth_comes_from_the_header() -> None:
    assert peek(samples.png16(DARK16)).depth == 16
    assert peek(samples.tiff16(DARK16)).depth == 16
    assert peek(samples.saved(Image.fromarray(GRADIENT), "TIFF")).depth == 8


# Modes


def test_grey_alpha_palette_and_bits() -> None:
    grey = Image.fromarray(GRADIENT[..., 0])
    photo = read_photo(samples.saved(grey, "PNG"))
    assert photo.grey and np.array_equal(photo.pixels, np.repeat(GRADIENT[..., :1], 3, 2))
    both = np.dstack([GRADIENT[..., 0], GRADIENT[..., 1]])
    photo = read_photo(samples.saved(Image.fromarray(both), "PNG"))
    assert photo.grey and np.array_equal(photo.alpha, both[..., 1])
    bits = read_photo(samples.saved(grey.convert("1"), "PNG"))
    assert bits.grey and bits.indexed and set(np.unique(bits.pixels)) == {0, 255}
    colours = Image.fromarray(GRADIENT).quantize(16)
    photo = read_photo(samples.saved(colours, "PNG"))
    assert photo.indexed and not photo.grey and np.array_equal(photo.pixels, np.asarray(colours.convert("RGB")))
    photo = read_photo(samples.saved(grey.quantize(16), "GIF"))
    assert photo.format == "GIF" and photo.indexed and photo.grey


def test_transparent_colours_become_alpha() -> None:
    image = Image.fromarray(GRADIENT)
    photo = read_photo(samples.saved(image, "PNG", transparency=tuple(int(v) for v in GRADIENT[3, 5])))
    assert photo.alpha is not None and photo.alpha[3, 5] == 0 and photo.alpha[0, 0] == 255
    indexed = image.quantize(8)
    photo = read_photo(samples.saved(indexed, "GIF", transparency=indexed.getpixel((0, 0))))
    assert photo.alpha is not None and photo.alpha[0, 0] == 0 and photo.alpha.max() == 255


@pytest.mark.parametrize("name", ["JPEG", "TIFF"])
def test_cmyk_without_a_profile(name: str) -> None:
    flat = Image.new("RGB", (16, 16), (200, 60, 30)).convert("CMYK")
    photo = read_photo(samples.saved(flat, name))
    assert photo.pixels[8, 8] == pytest.approx([200, 60, 30], abs=4)
    assert any("CMYK" in word for word in photo.warnings) and photo.metadata.icc is None


def test_cmyk_with_a_broken_profile_is_still_read() -> None:
    flat = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    photo = read_photo(samples.saved(flat, "TIFF", icc_profile=b"nonsense" * 40))
    assert (photo.pixels == 255).all() and "damaged" in photo.warnings[-1]


def test_lab_tiff() -> None:
    lab = Image.merge("LAB", [Image.new("L", (8, 8), value) for value in (128, 128, 128)])
    photo = read_photo(samples.saved(lab, "TIFF"))
    # L* = 128/255*100 = 50.2 without colour is sRGB 119.2 of 255
    assert photo.pixels[4, 4] == pytest.approx([119, 119, 119], abs=2)


@pytest.mark.parametrize("name", ["JPEG", "WEBP", "BMP", "AVIF", "JPEG2000", "PPM", "TIFF", "PNG"])
def test_every_format_by_content(name: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.txt"
    path.write_bytes(samples.saved(Image.fromarray(samples.gradient(64, 64)), name))
    photo = read_photo(path)
    assert photo.format == name == peek(path).format
    assert np.abs(photo.pixels.astype(int) - samples.gradient(64, 64)).mean() < 4


def test_heif(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    path = tmp_path / "phone.heic"
    turned = Image.Exif()
    turned[0x0112] = 6
    path.write_bytes(samples.saved(Image.fromarray(samples.gradient(48, 64)), "HEIF", exif=turned.tobytes()))
    photo = read_photo(path)
    assert (photo.format, photo.size, peek(path).size) == ("HEIF", (48, 64), (48, 64))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PhotoError, match=r'phone\.heic: .* pip install "restorer\[heif\]"'):
        read_photo(path)


def test_lossless_webp_is_known() -> None:
    image = Image.fromarray(GRADIENT)
    assert read_photo(samples.saved(image, "WEBP", lossless=True)).lossless
    assert not read_photo(samples.saved(image, "WEBP")).lossless


@pytest.mark.parametrize(
    ("name", "word"), [("TIFF", "pages"), ("GIF", "pictures"), ("WEBP", "pictures"), ("PNG", "pictures")]
)
def test_only_the_first_of_many_pictures(name: str, word: str) -> None:
    first, second = Image.new("RGB", (8, 8), (250, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 250))
    photo = read_photo(samples.saved(first, name, save_all=True, append_images=[second]))
    assert f"The file holds 2 {word}: only the first is restored." in photo.warnings
    assert photo.pixels[4, 4] == pytest.approx([250, 0, 0], abs=8)


# JPEG


@pytest.mark.parametrize("quality", [1, 35, 50, 75, 92, 97, 100])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_jpeg_quality_and_subsampling(quality: int, subsampling: str) -> None:
    data = samples.saved(Image.fromarray(GRADIENT), "JPEG", quality=quality, subsampling=subsampling)
    photo = read_photo(data)
    assert (photo.quality, photo.subsampling) == (quality, subsampling)


def test_other_formats_have_no_quality() -> None:
    photo = read_photo(samples.saved(Image.fromarray(GRADIENT), "PNG"))
    assert photo.quality is None and photo.subsampling is None


# Orientation


def _stored(scene: np.ndarray, orientation: int) -> np.ndarray:
    """How a camera stores a scene: row 0 and column 0 of the file lie where EXIF 2.32, 4.6.4 A says."""
    return {
        1: scene,
        2: scene[:, ::-1],
        3: scene[::-1, ::-1],
        4: scene[::-1],
        5: scene.transpose(1, 0, 2),
        6: np.rot90(scene, 1),
        7: scene[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(scene, -1),
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF"])
def test_orientation_is_applied(orientation: int, name: str, tmp_path: Path) -> None:
    image = Image.fromarray(np.ascontiguousarray(_stored(GRADIENT, orientation)))
    if name == "TIFF":
        data = samples.saved(image, name, tiffinfo={0x0112: orientation})
    else:
        data = samples.saved(image, name, exif=samples.exif(orientation), lossless=True)
    photo = read_photo(data)
    assert np.array_equal(photo.pixels, GRADIENT)
    assert peek(data).size == photo.size == (32, 24)
    path = tmp_path / "photo"
    path.write_bytes(data)
    assert peek(path) == peek(data)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", [2, 6])
def test_orientation_at_16_bits(orientation: int, order: str) -> None:
    scene = samples.gradient(dtype=np.uint16)
    data = samples.tiff16(np.ascontiguousarray(_stored(scene, orientation)), order, t274=(orientation,))
    assert np.array_equal(read_photo(data).pixels, scene)
    assert peek(data).size == (32, 24)
    block = samples.png_chunk(b"eXIf", samples.exif(orientation, order))
    data = samples.png16(np.ascontiguousarray(_stored(scene, orientation)), block)
    assert np.array_equal(read_photo(data).pixels, scene)


def test_orientation_of_avif_and_alpha() -> None:
    rgba = np.dstack([GRADIENT, GRADIENT[..., 0]])
    turned = Image.Exif()
    turned[0x0112] = 6
    photo = read_photo(samples.saved(Image.fromarray(np.ascontiguousarray(np.rot90(rgba))), "AVIF", exif=turned))
    assert photo.size == (32, 24)
    assert photo.alpha is not None and np.abs(photo.alpha.astype(int) - rgba[..., 3]).mean() < 3


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_absurd_orientation_never_loses_the_picture(orientation: int) -> None:
    photo = read_photo(samples.saved(Image.fromarray(GRADIENT), "PNG", exif=samples.exif(orientation)))
    assert np.array_equal(photo.pixels, GRADIENT)
    assert len(photo.warnings) == (orientation != 0)


@pytest.mark.parametrize("damage", [lambda e: e[:20], lambda e: b"rubbish", lambda e: e[:4] + b"\xff" * (len(e) - 4)])
def test_damaged_exif_never_loses_the_picture(damage) -> None:
    photo = read_photo(samples.saved(Image.fromarray(GRADIENT), "PNG", exif=damage(samples.exif(6))))
    assert photo.metadata.exif is None and photo.size in ((32, 24), (24, 32))
    assert "EXIF" in photo.warnings[0]


@pytest.mark.parametrize("packet", [b"<x:xmpmeta", b"\xff\xff\xff", b"<a>" * 5000 + b"</a>" * 5000])
def test_damaged_xmp_never_loses_the_picture(packet: bytes) -> None:
    photo = read_photo(samples.saved(Image.fromarray(GRADIENT), "WEBP", xmp=packet))
    assert photo.metadata.xmp is None and "XMP" in photo.warnings[0]


def test_profile_of_another_kind_is_left_out() -> None:
    grey = samples.profile(None, samples.parametric(0, (2.2,)))
    photo = read_photo(samples.saved(Image.fromarray(GRADIENT), "PNG", icc_profile=grey))
    assert photo.metadata.icc is None and "sRGB is assumed" in photo.warnings[0]
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert read_photo(samples.saved(Image.fromarray(GRADIENT), "PNG", icc_profile=srgb)).metadata.icc == srgb


# Bad inputs


def _bomb() -> bytes:
    head = samples.png_chunk(b"IHDR", struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0))
    body = samples.png_chunk(b"IDAT", zlib.compress(bytes(1000))) + samples.png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + body


JPEG = samples.saved(Image.fromarray(samples.noise(200, 200, 3, np.uint8)), "JPEG")
BAD = {
    "text.jpg": (b"Dear aunt, here are the photographs.", "not a photograph in a format known"),
    "empty.jpg": (b"", "it is empty"),
    "half.jpg": (JPEG[: len(JPEG) // 2], "damaged|cut off"),
    "head.jpg": (JPEG[:100], "damaged|cut off"),
    "half.png": (
        samples.saved(Image.fromarray(samples.noise(90, 90, 3, np.uint8)), "PNG")[:9000],
        "damaged|cut off",
    ),
    "half16.png": (samples.png16(samples.noise(90, 90, 3, np.uint16))[:9000], "cut off"),
    "flipped16.png": (samples.png16(DARK16).replace(b"IDAT", b"IDAT\0", 1), "cut off|damaged"),
    "half.tif": (samples.saved(Image.fromarray(GRADIENT), "TIFF")[:-20], "damaged|cut off"),
    "half16.tif": (samples.tiff16(DARK16)[:1000], "damaged|cut off"),
    "half.webp": (
        samples.saved(Image.fromarray(samples.noise(90, 90, 3, np.uint8)), "WEBP")[:900],
        "damaged|cut off",
    ),
    "half.ppm": (b"P6\n30 20\n65535\n" + bytes(100), "cut off"),
    "bomb.png": (_bomb(), f"20000×20000 is more than {MAX_MEGAPIXELS} megapixels"),
    "raw.cr2": (b"II*\0\x10\0\0\0CR\2\0" + bytes(16), "raw file"),
    "raw.nef": (samples.tiff16(DARK16, t254=(1,), t330=(0,)), "raw file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_sentence(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    path.write_bytes(BAD[name][0])
    with pytest.raises(PhotoError, match=BAD[name][1]) as caught:
        read_photo(path)
    message = str(caught.value)
    assert str(path) in message and message.endswith(".") and "\n" not in message
    assert capfd.readouterr() == ("", "")


def test_missing_folder_device_and_forbidden(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="there is no such file"):
        read_photo(tmp_path / "nobody.jpg")
    with pytest.raises(PhotoError, match="it is a folder"):
        read_photo(tmp_path)
    if Path("/dev/zero").exists():
        with pytest.raises(PhotoError, match="it is a device"):
            read_photo(Path("/dev/zero"))


def test_a_giant_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "giant.jpg"
    with path.open("wb") as stream:
        stream.write(JPEG)
        stream.truncate(5 << 30)  # sparse: takes no room
    with pytest.raises(PhotoError, match="larger than 4 GiB"):
        read_photo(path)


def test_permission_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "private.jpg"
    path.write_bytes(JPEG)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PhotoError, match=r"private\.jpg: permission denied\."):
        read_photo(path)


def test_bomb_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restorer.photo.decode.decode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(PhotoError, match="megapixels"):
        read_photo(_bomb())
    with pytest.raises(PhotoError, match="megapixels"):
        peek(_bomb())


def test_large_but_allowed_pictures_do_not_warn(recwarn: pytest.WarningsRecorder) -> None:
    size = (12000, 12000)  # above Pillow's own warning
    data = samples.saved(Image.new("1", size), "PNG")
    assert peek(data).size == size
    assert not recwarn.list


def test_one_pixel() -> None:
    photo = read_photo(samples.saved(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG"))
    assert photo.size == (1, 1) and photo.pixels.tolist() == [[[1, 2, 3]]]


def test_names_in_other_scripts_and_streams(tmp_path: Path) -> None:
    path = tmp_path / "Großmutter 祖母.png"
    path.write_bytes(samples.png16(DARK16))
    assert np.array_equal(read_photo(path).pixels, DARK16)
    with path.open("rb") as stream:
        assert np.array_equal(read_photo(stream).pixels, DARK16)
    with pytest.raises(PhotoError, match="standard input: it is empty"):
        read_photo(io.BytesIO(), name="standard input")


def test_a_pipe_is_read_to_its_end() -> None:
    reading, writing = os.pipe()
    threading.Thread(target=lambda: (os.write(writing, JPEG), os.close(writing))).start()
    with os.fdopen(reading, "rb") as stream:
        assert read_photo(stream).size == (200, 200)


def test_threads_leave_the_warning_filters_as_they_were() -> None:
    before = list(warnings.filters)
    data = samples.saved(Image.fromarray(GRADIENT), "PNG", exif=samples.exif(6))
    threads = [threading.Thread(target=lambda: [read_photo(data) for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


JPEG_EXIF = b"Exif\0\0" + samples.exif(6, thumbnail=b"\xff\xd8abc")
SOUND = [
    JPEG[:3000],
    samples.png16(samples.gradient(6, 5, np.uint16)),
    samples.tiff16(samples.gradient(6, 5, np.uint16)),
    samples.saved(Image.fromarray(GRADIENT), "TIFF", compression="tiff_lzw"),
    samples.saved(Image.fromarray(GRADIENT), "JPEG", exif=JPEG_EXIF, xmp=samples.XMP),
    samples.saved(Image.fromarray(GRADIENT), "WEBP", exif=samples.exif(3)),
]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SOUND), st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=6))
def test_whatever_is_damaged_only_photo_errors_come_out(data: bytes, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(data)
    for at, value in changes:
        damaged[at % len(damaged)] = value
    try:
        photo = read_photo(bytes(damaged))
    except PhotoError:
        return
    assert photo.pixels.shape[2] == 3
