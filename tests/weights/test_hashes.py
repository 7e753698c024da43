"""Hashes are taken once, until a file changes; notes keep what nobody states."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from restorer.errors import WeightsError
from restorer.weights import hashes
from restorer.weights.hashes import HashMemory, note_path, read_note, sha256_of, write_note

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""SHA-256 of the bytes ``abc``, FIPS 180-2 appendix B.1."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.pth"
    path.write_bytes(b"abc")
    return path


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Collect which files were really read."""
    paths: list[Path] = []

    def count(path: Path) -> str:
        paths.append(path)
        return sha256_of(path)

    monkeypatch.setattr(hashes, "sha256_of", count)
    return paths


def test_sha256_is_the_standard_one(file: Path) -> None:
    assert sha256_of(file) == ABC


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent\.pth cannot be read"):
        sha256_of(tmp_path / "absent.pth")


def test_an_unchanged_file_is_read_once_over_many_runs(file: Path, tmp_path: Path, hashed: list[Path]) -> None:
    for _ in range(3):
        assert HashMemory(tmp_path / "cache" / "memory.json").sha256(file) == ABC
    assert hashed == [file]
    assert HashMemory(tmp_path / "cache" / "memory.json").sha256(file, fresh=True) == ABC
    assert hashed == [file, file]


def test_a_changed_file_of_the_same_size_is_read_again(file: Path, tmp_path: Path, hashed: list[Path]) -> None:
    memory = HashMemory(tmp_path / "memory.json")
    memory.sha256(file)
    file.write_bytes(b"abd")
    os.utime(file, ns=(1, 1))
    assert memory.recall(file) is None
    assert memory.sha256(file) != ABC
    assert hashed == [file, file]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 3}', "\udcff"])
def test_a_damaged_memory_only_costs_time(file: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "memory.json"
    path.write_text(content.replace('"x"', json.dumps(str(file))), errors="surrogateescape")
    assert HashMemory(path).sha256(file) == ABC


def test_a_memory_that_cannot_be_written_only_costs_time(file: Path) -> None:
    memory = HashMemory(file / "memory.json")
    assert memory.sha256(file) == ABC
    assert memory.sha256(file) == ABC


def test_two_memories_of_one_file_keep_each_others_entries(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    other.write_bytes(b"")
    first, second = HashMemory(tmp_path / "memory.json"), HashMemory(tmp_path / "memory.json")
    first.recall(file), second.recall(file)
    first.sha256(file), second.sha256(other)
    assert HashMemory(tmp_path / "memory.json").recall(file) == ABC


def test_a_note_is_kept_beside_the_file(file: Path) -> None:
    assert read_note(file) is None
    assert write_note(file, ABC)
    assert note_path(file).read_text() == f"{ABC}  net.pth\n"
    assert read_note(file) == ABC


@pytest.mark.parametrize("content", [b"", b"abc  net.pth\n", b"\xff"])
def test_a_damaged_note_is_an_error(file: Path, content: bytes) -> None:
    note_path(file).write_bytes(content)
    with pytest.raises(WeightsError, match="delete it"):
        read_note(file)


def test_a_note_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    assert not write_note(tmp_path / "absent" / "net.pth", ABC)
