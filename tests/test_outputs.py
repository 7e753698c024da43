from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restorer.errors import OutputError, UsageError
from restorer.inputs import find_inputs
from restorer.outputs import Job, OutputOptions, plan


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    picture = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    for name in ("a.jpg", "b.png", "sub/a.JPEG", "c.gif", "d.bmp", "e.tif"):
        path = tmp_path / "album" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    picture.convert("P").save(tmp_path / "album/palette.bmp")
    (tmp_path / "album/lie.jpg").write_bytes((tmp_path / "album/b.png").read_bytes())
    return tmp_path


def jobs(*names: str, recursive: bool = False, **options: object) -> list[Job]:
    return plan(find_inputs(names, recursive=recursive), OutputOptions(**options))  # type: ignore[arg-type]


def test_names_in_a_folder(album: Path) -> None:
    found = {job.input.relative.as_posix(): job for job in jobs("album", recursive=True, save_faces=True)}
    outputs = {name: job.output.as_posix() for name, job in found.items() if job.output}
    assert outputs == {
        "a.jpg": "restored/a.jpg",
        "b.png": "restored/b.png",
        "c.gif": "restored/c.png",
        "d.bmp": "restored/d.bmp",
        "e.tif": "restored/e.tif",
        "lie.jpg": "restored/lie.png",
        "palette.bmp": "restored/palette.png",
        "sub/a.JPEG": "restored/sub/a.JPEG",
    }
    comparisons = {name: job.comparison.as_posix() for name, job in found.items() if job.comparison}
    assert comparisons["a.jpg"] == "restored/comparisons/a.jpg"
    assert comparisons["b.png"] == "restored/comparisons/b.png.jpg"
    assert comparisons["sub/a.JPEG"] == "restored/comparisons/sub/a.JPEG"
    assert found["sub/a.JPEG"].face_path(3) == Path("restored/faces/sub/a.JPEG_03.png")


def test_format_for_all(album: Path) -> None:
    (job,) = jobs("album/a.jpg", format="png", quality=80)
    assert (job.output, job.format, job.quality) == (Path("restored/a.png"), "PNG", 80)


def test_one_file(album: Path) -> None:
    (job,) = jobs("album/a.jpg", output="new/x.png")
    assert (job.output, job.format, job.comparison, job.face_path(1)) == (Path("new/x.png"), "PNG", None, None)
    (job,) = jobs("album/a.jpg", output="new/x.png", compare=True, save_faces=True)
    assert (job.comparison, job.face_path(1)) == (Path("new/x.compare.jpg"), Path("new/x.face_01.png"))


def test_name_of_a_file_that_is_a_folder(album: Path) -> None:
    Path("x.jpg").mkdir()
    assert jobs("album/a.jpg", output="x.jpg")[0].output == Path("x.jpg/a.jpg")
    assert jobs("album/a.jpg", output="y.jpg/")[0].output == Path("y.jpg/a.jpg")


def test_one_file_for_two_photographs(album: Path) -> None:
    with pytest.raises(UsageError, match="names one file, and there are 2"):
        jobs("album/a.jpg", "album/b.png", output="x.png")


def test_format_and_suffix_disagree(album: Path) -> None:
    with pytest.raises(UsageError, match=r"disagree: name the file x\.jpg"):
        jobs("album/a.jpg", output="x.png", format="jpeg")
    assert jobs("album/a.jpg", output="x.JPEG", format="jpeg")[0].format == "JPEG"
    with pytest.raises(OutputError, match=r"x\.gif"):
        jobs("album/a.jpg", output="x.gif")


def test_standard_output(album: Path) -> None:
    (job,) = jobs("album/a.jpg", output="-")
    assert job.to_stdout and job.output is None and job.comparison is None and job.output_name == "-"
    with pytest.raises(UsageError, match="one photograph to standard output, and there are 2"):
        jobs("album/a.jpg", "album/b.png", output="-")
    with pytest.raises(UsageError, match="--compare needs files"):
        OutputOptions(output="-", compare=True)


def test_clashing_names(album: Path) -> None:
    with pytest.raises(UsageError, match=r"album/a\.jpg and .*other/a\.jpg would both be written to restored/a\.jpg"):
        Path("other").mkdir()
        Path("other/a.jpg").write_bytes(Path("album/a.jpg").read_bytes())
        jobs("album/a.jpg", "other/a.jpg")


def test_clash_by_a_changed_format(album: Path) -> None:
    Path("album/c.png").write_bytes(Path("album/b.png").read_bytes())
    with pytest.raises(UsageError, match=r"restored/c\.png"):
        jobs("album/c.gif", "album/c.png")


def test_clash_of_a_comparison_with_a_photograph(album: Path) -> None:
    target = Path("album/comparisons/a.jpg")
    target.parent.mkdir()
    target.write_bytes(Path("album/a.jpg").read_bytes())
    with pytest.raises(UsageError, match="the comparison of"):
        jobs("album", recursive=True)


def test_clash_with_faces(album: Path) -> None:
    target = Path("album/faces/a.jpg_01.png")
    target.parent.mkdir()
    target.write_bytes(Path("album/b.png").read_bytes())
    with pytest.raises(UsageError, match="the faces of"):
        jobs("album", recursive=True, save_faces=True)


def test_faces_are_never_written_over_an_input(album: Path) -> None:
    mine = Path("out/faces/a.jpg_01.png")
    mine.parent.mkdir(parents=True)
    mine.write_bytes(Path("album/b.png").read_bytes())
    Path("link.png").symlink_to(mine)
    for name in ("out/faces/a.jpg_01.png", "link.png", "album/../out/faces/a.jpg_01.png"):
        with pytest.raises(UsageError, match=r"is an input and lies where the faces of album/a\.jpg go"):
            jobs("album/a.jpg", name, output="out", save_faces=True)
    assert len(jobs("album/a.jpg", "out/faces/a.jpg_01.png", output="out")) == 2
    with pytest.raises(UsageError, match="is an input and lies where the faces"):
        mine.rename("out/x.face_01.png")
        jobs("out/x.face_01.png", output="out/x.png", save_faces=True)


def test_output_is_an_input(album: Path) -> None:
    for output in ("album", "album/a.jpg", "album/../album/a.jpg"):
        with pytest.raises(UsageError, match="is an input"):
            jobs("album/a.jpg", output=output)
    with pytest.raises(UsageError, match="is an input"):
        jobs("album/lie.jpg", "album/a.jpg", output="album", format="jpeg")


@pytest.mark.skipif(sys.platform == "win32", reason="making links needs rights on Windows")
def test_output_is_a_link_to_an_input(album: Path) -> None:
    Path("link.jpg").symlink_to("album/a.jpg")
    with pytest.raises(UsageError, match="is an input"):
        jobs("album/a.jpg", output="link.jpg")


def test_output_below_a_file(album: Path) -> None:
    Path("file").touch()
    with pytest.raises(OutputError, match="file is not a folder"):
        jobs("album/a.jpg", output="file/out")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(album: Path) -> None:
    Path("locked").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="permission denied"):
        jobs("album/a.jpg", output="locked/out")


def test_output_is_a_folder(album: Path) -> None:
    Path("restored/a.jpg").mkdir(parents=True)
    with pytest.raises(OutputError, match="it is a folder"):
        jobs("album/a.jpg")


def test_unreadable_photograph_becomes_a_job_that_fails(album: Path) -> None:
    Path("album/text.jpg").write_text("text")
    good, bad, missing = jobs("album/a.jpg", "album/text.jpg", "missing.jpg")
    assert good.input.error is None
    assert "not a photograph" in str(bad.input.error) and bad.output is None
    assert "no such file" in str(missing.input.error)


def test_output_with_a_zero_byte() -> None:
    with pytest.raises(UsageError, match="zero byte"):
        OutputOptions(output="a\0b")


def test_quality_out_of_range() -> None:
    with pytest.raises(UsageError, match="--quality 0"):
        OutputOptions(quality=0)
