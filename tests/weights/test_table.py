"""The manifest is well formed, names everything the program needs, and matches the bundled files."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from restorer.errors import WeightsError
from restorer.weights import bundled_folder, read_table
from restorer.weights.hashes import sha256_of
from restorer.weights.pin import pin
from restorer.weights.store import DETECTOR_FALLBACK, DETECTORS, FACE_FALLBACK, FACE_MODELS, PARSER

TABLE = read_table()


def test_the_names_the_program_uses_are_rows() -> None:
    for name in (*FACE_MODELS, FACE_FALLBACK):
        assert TABLE[name].kind == "face"
    for name in (*DETECTORS, DETECTOR_FALLBACK):
        assert TABLE[name].kind == "detector"
    assert TABLE[PARSER].kind == "parser"
    for name in ("realesrgan", "realesrgan-x4", "realesr-general", "realesr-general-wdn"):
        assert TABLE[name].kind == "upsampler"
    assert {row.name for row in TABLE.values() if row.bundled} == {FACE_FALLBACK, DETECTOR_FALLBACK}


def test_file_names_are_unique_and_plain() -> None:
    files = [row.file for row in TABLE.values()]
    assert len(set(files)) == len(files)
    assert all(Path(file).name == file for file in files)


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_rows_are_well_formed(row: object) -> None:
    assert row.sha256 is None or re.fullmatch("[0-9a-f]{64}", row.sha256)
    assert row.size is None or row.size > 0
    assert row.confirmed and row.licence and row.source and row.architecture
    assert row.bundled == (not row.urls)
    assert all(urlsplit(url).scheme == "https" for url in row.urls)
    # A second source is only safe where the hash tells whether it gives the same file.
    assert row.sha256 is not None or len(row.urls) <= 1


def test_published_digits_in_file_names_agree_with_the_hashes() -> None:
    """Torchvision and pytorch-fid put the first eight digits of the SHA-256 into the name."""
    stated = {row.name: match[1] for row in TABLE.values() if (match := re.search(r"-([0-9a-f]{8})\.pth$", row.file))}
    assert set(stated) == {"vgg19", "vgg16", "alexnet", "inception"}
    assert all(TABLE[name].sha256.startswith(digits) for name, digits in stated.items())


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.bundled])
def test_bundled_files_match_the_manifest(name: str) -> None:
    row, path = TABLE[name], bundled_folder() / TABLE[name].file
    if not path.is_file() and row.sha256 is None:
        pytest.skip(f"{row.file} is not trained yet and the manifest says so")
    assert path.is_file(), f"the manifest promises {row.file}"
    assert (path.stat().st_size, sha256_of(path)) == (row.size, row.sha256), "run python -m restorer.weights.pin"


def test_pin_writes_what_the_files_are(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    original = (bundled_folder() / "manifest.json").read_text(encoding="utf-8")
    manifest.write_text(original, encoding="utf-8")
    (tmp_path / "lite.safetensors").write_bytes(b"abc")
    sentences = pin(tmp_path)
    assert sentences[1] == "detector-lite.safetensors: absent"
    table = read_table(manifest)
    # SHA-256 of "abc": FIPS 180-2, appendix B.1
    assert table["lite"].sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (table["lite"].size, table["detector-lite"].size) == (3, None)
    assert {name: row for name, row in table.items() if not row.bundled} == {
        name: row for name, row in TABLE.items() if not row.bundled
    }
    (tmp_path / "lite.safetensors").unlink()
    pin(tmp_path)
    assert re.sub(r'"(size|sha256)": .*', "", manifest.read_text()) == re.sub(r'"(size|sha256)": .*', "", original)


@pytest.mark.parametrize(
    "content", [None, "{}", "not json", '{"weights": [{"name": "x"}]}', '{"weights": [{"nome": "x"}]}']
)
def test_a_damaged_manifest_is_an_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(WeightsError, match="install again"):
        read_table(tmp_path / "manifest.json")
