from __future__ import annotations

import io
import os
import sys
import threading
from pathlib import Path, PurePath
from typing import BinaryIO, cast

import pytest

from restorer.errors import PhotoError, UsageError
from restorer.inputs import drain, find_inputs, natural_key, read_names
from restorer.photo import read_photo


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a10.PNG", "a2.jpg", ".hidden.jpg", "notes.txt", "sub/c.webp", "sub/.cache/d.jpg", "z/e.tif"):
        path = tmp_path / "album" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(*args: str, **keywords: object) -> list[str]:
    return [item.relative.as_posix() for item in find_inputs(args, **keywords)]  # type: ignore[arg-type]


def test_folder_without_recursion_gives_its_own_photographs_in_natural_order(tree: Path) -> None:
    assert names("album") == ["a2.jpg", "a10.PNG", "b.jpg"]


def test_recursion_leaves_hidden_ones_out(tree: Path) -> None:
    assert names("album", recursive=True) == ["a2.jpg", "a10.PNG", "b.jpg", "sub/c.webp", "z/e.tif"]


def test_result_folder_inside_is_left_out(tree: Path) -> None:
    assert "z/e.tif" not in names("album", recursive=True, exclude=Path("album/z"))
    # but a named folder is taken even if the results lie around it or in it
    assert names("album/z", exclude=Path("album")) == ["e.tif"]
    assert names("album/z", exclude=Path("album/z")) == ["e.tif"]


def test_named_file_is_taken_whatever_its_name(tree: Path) -> None:
    assert names("album/notes.txt", "album/.hidden.jpg", "missing.jpg") == ["notes.txt", ".hidden.jpg", "missing.jpg"]


def test_same_photograph_named_twice_is_taken_once(tree: Path) -> None:
    assert names("album/b.jpg", "./album/b.jpg", "album") == ["b.jpg", "a2.jpg", "a10.PNG"]


def test_name_with_a_zero_byte_is_no_file(tree: Path) -> None:
    first, second = find_inputs(["a\0b.jpg", "album/b.jpg"])
    assert "holds a zero byte" in str(first.error) and second.error is None


def test_pattern_that_no_shell_expanded(tree: Path) -> None:
    assert names("album/a*") == ["a2.jpg", "a10.PNG"]
    assert names("album/**/*.webp") == ["sub/c.webp"]
    assert names("a[l]bum") == ["a2.jpg", "a10.PNG", "b.jpg"]


def test_pattern_without_a_match_says_so(tree: Path) -> None:
    (item,) = find_inputs(["album/*.heic"])
    assert "no file matches" in str(item.error)


def test_file_with_pattern_signs_in_its_name(tree: Path) -> None:
    (tree / "a[1].jpg").touch()
    assert names("a[1].jpg") == ["a[1].jpg"]
    assert names("album/a*", patterns=False) == ["a*"]


@pytest.mark.skipif(sys.platform == "win32", reason="making links needs rights on Windows")
def test_loops_of_links_end(tree: Path) -> None:
    (tree / "album/sub/back").symlink_to(tree / "album", target_is_directory=True)
    (tree / "album/sub/again").symlink_to(tree / "album/z", target_is_directory=True)
    found = names("album", recursive=True)
    assert len(found) == 5 and sum(name.endswith("e.tif") for name in found) == 1


def test_empty_folder(tree: Path) -> None:
    (tree / "empty").mkdir()
    with pytest.raises(PhotoError, match="empty holds no photographs; -r looks into"):
        find_inputs(["empty"])
    with pytest.raises(PhotoError, match=r"no photographs\.$"):
        find_inputs(["empty"], recursive=True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipe_is_read_at_once(tree: Path) -> None:
    os.mkfifo("pipe")
    writer = threading.Thread(target=Path("pipe").write_bytes, args=(b"\xff\xd8\xffpicture",))
    writer.start()
    (item,) = find_inputs(["pipe"])
    writer.join()
    assert item.source == b"\xff\xd8\xffpicture"


class Endless(io.RawIOBase):
    """A stream that never ends."""

    def __init__(self, start: bytes) -> None:
        self.start, self.given = start, 0

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "read to its end"
        part = (self.start[self.given :] + b"y" * size)[:size]
        self.given += size
        return part


def test_endless_pipes_end(monkeypatch: pytest.MonkeyPatch) -> None:
    text = Endless(b"no photograph")
    assert drain(cast("BinaryIO", text)) == b"no photograph" + b"y" * 19 and text.given == 32
    monkeypatch.setattr("restorer.photo.source.MAX_BYTES", 5 << 20)
    data = drain(cast("BinaryIO", Endless(b"\xff\xd8\xff")))
    with pytest.raises(PhotoError, match="larger than"):
        read_photo(data)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no devices here")
def test_device_is_not_read() -> None:
    (item,) = find_inputs(["/dev/zero"])
    with pytest.raises(PhotoError, match="/dev/zero: it is a device"):
        read_photo(item.source, name=item.name)


def test_standard_input() -> None:
    (item,) = find_inputs(["-"], stdin=b"picture")
    assert (item.name, item.relative, item.source) == ("-", PurePath("stdin"), b"picture")
    with pytest.raises(UsageError, match="only once"):
        find_inputs(["-", "-"], stdin=b"")


def test_names_in_lists() -> None:
    assert read_names(b"a b.jpg\r\n\nc.jpg") == ["a b.jpg", "c.jpg"]
    assert read_names(b"a\nb.jpg\0c.jpg\0", null=True) == ["a\nb.jpg", "c.jpg"]
    with pytest.raises(UsageError, match="give -0, too"):
        read_names(b"a\nb.jpg\0c.jpg\0")
    odd = b"\xff.jpg"
    assert os.fsencode(read_names(odd)[0]) == odd


def test_natural_order() -> None:
    given = ["b/1.jpg", "a10", "a2", "A3", "2", "10", "a"]
    assert sorted(given, key=lambda name: natural_key(PurePath(name))) == ["2", "10", "a", "a2", "A3", "a10", "b/1.jpg"]
