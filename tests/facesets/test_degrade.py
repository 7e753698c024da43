"""`restorer degrade`: sets and single pictures, the same as evaluation makes, and what goes wrong."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from restorer.cli.group import group
from restorer.evaluation.inputs import degrade_truth
from restorer.training.damage.presets import damage
from restorer.training.dataset import load_faces
from tests.training.faces import POINTS, drawn_face, write_zip


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(group, ["degrade", *map(str, arguments)], prog_name="restorer")


def _pixels(data: bytes | Path) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data) if isinstance(data, bytes) else data))


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    return write_zip(tmp_path / "faces.zip", [drawn_face(seed) for seed in range(3)])


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_it_makes_what_evaluation_makes(faces: Path, tmp_path: Path, preset: str) -> None:
    result = _run(faces, "-o", tmp_path / "out", "--preset", preset, "--seed", 5)
    assert result.exit_code == 0 and "3 damaged, 0 failed" in result.stderr and result.stdout == ""
    for seed in range(3):
        made = _pixels(tmp_path / "out" / f"face{seed}.png")
        assert np.array_equal(made, degrade_truth(drawn_face(seed).pixels, f"face{seed}", preset, 5))


def test_a_picture_is_damaged_alike_in_every_company(faces: Path, tmp_path: Path) -> None:
    """In a zip, in a folder under another suffix and beside others, and alone; another seed gives another damage."""
    folder = tmp_path / "folder"
    folder.mkdir()
    Image.fromarray(drawn_face(1).pixels).save(folder / "face1.bmp")
    Image.fromarray(drawn_face(7).pixels).save(folder / "a.png")
    for source, out in ((faces, "zip"), (folder, "dir"), (folder / "face1.bmp", "alone")):
        assert _run(source, "-o", tmp_path / out).exit_code == 0
    assert _run(faces, "-o", tmp_path / "other", "--seed", 1).exit_code == 0
    made = {out: _pixels(tmp_path / out / "face1.png") for out in ("zip", "dir", "alone", "other")}
    assert np.array_equal(made["zip"], made["dir"]) and np.array_equal(made["zip"], made["alone"])
    assert not np.array_equal(made["zip"], made["other"])


def test_old_photographs_have_a_truth_in_their_tone(faces: Path, tmp_path: Path) -> None:
    damaged, truth = tmp_path / "damaged.zip", tmp_path / "truth.zip"
    assert _run(faces, "-o", damaged, "--preset", "old", "--truth", truth).exit_code == 0
    # both are sets of aligned faces still, with their points
    sets = [load_faces(path, 64) for path in (damaged, truth)]
    for seed, (aged, tone) in enumerate(zip(*sets, strict=True)):
        expected = damage(drawn_face(seed).pixels, f"face{seed}", "old", 0)
        assert np.array_equal(aged.pixels, expected.pixels) and np.array_equal(tone.pixels, expected.truth)
        assert np.array_equal(aged.points, POINTS)
        assert not np.array_equal(aged.pixels, tone.pixels)


def test_the_same_command_gives_the_same_bytes(faces: Path, tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        assert _run(faces, "-o", tmp_path / name).exit_code == 0
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_a_single_picture_takes_the_names_suffix(tmp_path: Path) -> None:
    photo = tmp_path / "face.png"
    Image.fromarray(drawn_face(0).pixels).save(photo)
    assert _run(photo, "-o", tmp_path / "new" / "damaged.tiff", "--truth", tmp_path / "truth.png").exit_code == 0
    with Image.open(tmp_path / "new" / "damaged.tiff") as image:
        assert image.format == "TIFF"
        assert np.array_equal(np.array(image), damage(drawn_face(0).pixels, "face", "paper", 0).pixels)
    assert np.array_equal(_pixels(tmp_path / "truth.png"), drawn_face(0).pixels)


def test_a_broken_picture_is_named_and_harms_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    (folder / "within").mkdir(parents=True)
    (folder / "bad.png").write_bytes(b"no picture")
    Image.fromarray(drawn_face(0).pixels).save(folder / "within" / "good.png")
    result = _run(folder, "-o", tmp_path / "out.zip")
    assert result.exit_code == 7 and "bad.png" in result.stderr and "1 damaged, 1 failed" in result.stderr
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist() == ["within/good.png"]


def test_rows_of_a_manifest_stay_with_their_pictures(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "faces.zip", [drawn_face(0), drawn_face(1)])
    folder = tmp_path / "faces"
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    (folder / "face0.png").write_bytes(b"broken")
    assert _run(folder, "-o", tmp_path / "out").exit_code == 7
    rows = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert rows == [{"file": "face1.png", "points": POINTS.tolist()}]


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("missing.zip", "-o", "out"), 3, "no such folder or zip"),
        (("faces.zip", "-o", "out", "--preset", "new"), 2, "choose paper, released, old"),
        (("faces.zip", "-o", "faces.zip"), 2, "originals are never written to"),
        (("folder", "-o", "folder/out"), 2, "originals are never written to"),
        (("faces.zip", "-o", "out", "--truth", "out"), 2, "written to twice"),
        (("faces.zip", "-o", "out.png"), 2, "names one picture"),
        (("cut.zip", "-o", "out"), 3, "whole zip"),
        (("empty", "-o", "out"), 3, "no photograph"),
        (("broken", "-o", "out.zip"), 3, "bad.png"),
        (("faces.zip", "-o", "file/out.zip"), 4, "not a folder|Not a directory|exists"),
        (("faces.zip", "-o", "out", "--seed", "-1"), 2, "-1"),
    ],
)
def test_what_goes_wrong_ends_with_a_sentence(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, word: str
) -> None:
    import re

    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.zip").write_bytes(faces.read_bytes()[:-300])
    (tmp_path / "file").write_text("")
    for name in ("empty", "broken", "folder"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "bad.png").write_bytes(b"x")
    Image.fromarray(drawn_face(0).pixels).save(tmp_path / "folder" / "a.png")
    before = sorted(tmp_path.rglob("*"))
    result = _run(*arguments)
    assert result.exit_code == code, result.output
    assert re.search(word, result.stderr, re.IGNORECASE), result.stderr
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and path.is_file()] == []
