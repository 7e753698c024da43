"""Damaged files, wild options and mangled tables: only the documented exceptions, whatever the bytes."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from restorer.cli.restore import restore_command
from restorer.errors import PhotoError, UsageError, WeightsError
from restorer.options import RestoreOptions
from restorer.photo import peek, read_photo
from restorer.weights import bundled_folder, read_table
from restorer.weights.table import MANIFEST
from tests.photo import samples

BOUNDED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
CHANGES = st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=12)


def _files() -> dict[str, bytes]:
    """Return a small real file of every kind, with metadata where the format takes any."""
    image = Image.fromarray(samples.noise(24, 32, 3, np.uint8))
    exif, xmp, icc = samples.exif(6), samples.XMP, samples.p3()
    return {
        "jpeg": samples.saved(image, "JPEG", exif=b"Exif\0\0" + exif, xmp=xmp, icc_profile=icc, progressive=True),
        "png": samples.saved(image, "PNG", exif=exif, icc_profile=icc),
        "png16": samples.png16(samples.noise(24, 32, 3, np.uint16)),
        "palette": samples.saved(image.quantize(16), "PNG"),
        "tiff": samples.saved(image, "TIFF", compression="tiff_lzw", icc_profile=icc),
        "tiff16": samples.tiff16(samples.noise(24, 32, 3, np.uint16)),
        "webp": samples.saved(image, "WEBP", exif=exif, xmp=xmp, icc_profile=icc),
        "gif": samples.saved(image.quantize(16), "GIF"),
        "bmp": samples.saved(image, "BMP"),
        "ppm": samples.saved(image, "PPM"),
        "avif": samples.saved(image, "AVIF", exif=exif, xmp=xmp),
        "jp2": samples.saved(image, "JPEG2000"),
    }


FILES = _files()


def _read(data: bytes) -> None:
    """Read a file's bytes: a photograph of the size its header told, or the documented error."""
    try:
        header = peek(data)
    except PhotoError:
        header = None
    try:
        photo = read_photo(data)
    except PhotoError as error:
        assert str(error).startswith("Cannot read") and "\n" not in str(error)
    else:
        assert header is not None and photo.size == header.size
        assert photo.pixels.dtype in (np.uint8, np.uint16) and photo.pixels.shape[2] == 3


@pytest.mark.parametrize("name", FILES)
@BOUNDED
@given(changes=CHANGES, cut=st.none() | st.integers(0, 2**20))
def test_changed_and_cut_files(name: str, changes: list[tuple[int, int]], cut: int | None) -> None:
    data = bytearray(FILES[name])
    for place, value in changes:
        data[place % len(data)] = value
    _read(bytes(data if cut is None else data[: cut % len(data)]))


@pytest.mark.parametrize("name", FILES)
@BOUNDED
@given(place=st.integers(0, 2**20), between=st.binary(max_size=40), skip=st.integers(0, 60))
def test_files_with_pieces_put_in_and_taken_out(name: str, place: int, between: bytes, skip: int) -> None:
    data = FILES[name]
    at = place % len(data)
    _read(data[:at] + between + data[at + skip :])


@BOUNDED
@given(st.binary(max_size=200))
def test_any_bytes_are_no_photograph(data: bytes) -> None:
    _read(data)


ANY_NUMBER = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(2**70), 2**70)


@BOUNDED
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "upscale": ANY_NUMBER,
            "strength": ANY_NUMBER,
            "min_face": ANY_NUMBER,
            "max_face": st.none() | ANY_NUMBER,
            "det_threshold": ANY_NUMBER,
            "batch": st.none() | st.integers(-(2**70), 2**70),
            "tile": st.none() | st.integers(-(2**70), 2**70),
            "select": st.none() | st.lists(st.integers(-3, 2**70), max_size=4).map(tuple),
            "faces": st.sampled_from(["all", "largest", "center", "", "ALL", "\n"]),
            "grain": st.sampled_from(["auto", "none", "some"]),
            "bg_upsampler": st.sampled_from(["none", "realesrgan", "x\0"]),
        },
    )
)
def test_options_are_right_or_wrong_usage(values: dict[str, Any]) -> None:
    try:
        options = RestoreOptions(**values)
    except UsageError as error:
        assert str(error).startswith("--") and "\n" not in str(error).strip()
    else:
        assert 0 < options.upscale <= 8 and 0 <= options.strength <= 1 and 0 < options.det_threshold < 1
        assert options.min_face >= 0 and dataclasses.asdict(options)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(BOUNDED, max_examples=100)
@given(
    st.lists(
        st.sampled_from([parameter.opts[0] for parameter in restore_command.params if parameter.name != "names"])
        | TEXT,
        min_size=1,
        max_size=6,
    )
)
def test_command_lines_end_with_a_documented_code(arguments: list[str]) -> None:
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            result = CliRunner().invoke(restore_command, ["--offline", "--dry-run", *arguments], prog_name="restore")
        finally:
            os.chdir(before)
    # 4: --overview names a file of an unknown kind; 5: --model names a file that is not there
    assert result.exit_code in (0, 2, 3, 4, 5), (arguments, result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit)


TABLE = (bundled_folder() / MANIFEST).read_bytes()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["weights", "name", "urls"]), inner),
    max_leaves=12,
)


def _table(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, MANIFEST)
        path.write_bytes(data)
        try:
            rows = read_table(path)
        except WeightsError as error:
            assert "the installation is damaged" in str(error)
        else:
            assert all(row.name == name for name, row in rows.items())


@BOUNDED
@given(changes=CHANGES, cut=st.none() | st.integers(0, 2**20))
def test_changed_and_cut_tables_of_weights(changes: list[tuple[int, int]], cut: int | None) -> None:
    data = bytearray(TABLE)
    for place, value in changes:
        data[place % len(data)] = value
    _table(bytes(data if cut is None else data[: cut % len(data)]))


@BOUNDED
@given(JSON)
def test_tables_of_weights_of_any_shape(value: object) -> None:
    _table(json.dumps(value).encode())


def test_a_table_of_weights_nested_without_end() -> None:
    _table(b'{"weights":' + b"[" * 100_000)
