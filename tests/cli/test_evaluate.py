"""The command on small pictures: what it prints and writes, what it refuses, and its exit codes."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from restorer.cli.group import group
from restorer.pipeline import networks
from tests.fakes import FakeEngine, FakeNetworks, NoWeights, brighter

Run = Callable[..., Result]
NAMES = ("a", "sub/b", "c")
FAST = ("--metrics", "psnr")


def save(folder: Path, offset: int = 0, *, size: int = 48, suffix: str = ".png") -> Path:
    for number, name in enumerate(NAMES):
        pixels = np.random.default_rng(number).integers(30, 200, (size, size, 3)) + offset
        path = folder / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return the command in a folder with a truth and two methods' pictures."""
    monkeypatch.chdir(tmp_path)
    save(Path("truth"))
    save(Path("good"), 2, suffix=".bmp")
    save(Path("bad"), 20)

    def invoke(*args: str) -> Result:
        return CliRunner().invoke(group, ["evaluate", "--offline", *args], prog_name="restorer")

    return invoke


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> FakeNetworks:
    fake = FakeNetworks(engine=FakeEngine(brighter))
    monkeypatch.setattr(networks, "OpenedNetworks", lambda *args, **keywords: fake)
    return fake


def report(folder: str = "report") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(folder) / "report.json").read_text())
    return found


def test_two_methods(run: Run) -> None:
    result = run("--truth", "truth", "--restored", "good", "--restored", "their=bad", "--against", "good", *FAST)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("3 pictures") and lines[1].split() == ["method", "PSNR", "dB", "↑"]
    assert lines[2].split()[:2] == ["good", "42.11"] and lines[3].split()[:2] == ["their", "22.11"]
    assert lines[-1].split()[0] == "their" and lines[-1].endswith("0%")
    found = report()
    assert [row["name"] for row in found["methods"]] == ["good", "their"]
    assert set(found["methods"][0]["scores"]) == set(NAMES)
    assert found["settings"]["restored"] == ["good", "their=bad"]
    assert found["command"].startswith("restorer evaluate --offline --truth truth")
    assert Path("report/index.html").is_file() and "report/index.html" in result.stderr


def test_a_zip_is_as_good_as_a_folder(run: Run) -> None:
    with zipfile.ZipFile("truth.zip", "w") as archive:
        for name in NAMES:
            archive.write(f"truth/{name}.png", f"{name}.png")
    first = run("--truth", "truth", "--restored", "good", *FAST)
    second = run("--truth", "truth.zip", "--restored", "good", *FAST, "-o", "other")
    assert second.exit_code == 0 and second.stdout == first.stdout
    assert report()["methods"][0]["scores"] == report("other")["methods"][0]["scores"]


def test_degrade_and_restore(run: Run, fakes: FakeNetworks) -> None:
    arguments = ("--truth", "truth", "--degrade", "paper", "--model", "lite", "--against", "input", *FAST)
    result = run(*arguments, "--seed", "4")
    assert result.exit_code == 0, result.output
    found = report()
    assert [row["name"] for row in found["methods"]] == ["input", "lite"]
    assert found["methods"][1]["about"]["name"] == "fake" and found["settings"]["seed"] == 4
    assert "face" in fakes.opened
    again = run(*arguments, "--seed", "4", "--batch", "3", "-o", "again")
    assert again.stdout == result.stdout
    assert run(*arguments, "--seed", "5", "-o", "other").stdout != result.stdout


def test_super_resolution(run: Run, fakes: FakeNetworks) -> None:
    result = run("--truth", "truth", "--degrade", "released", "--sr", "4", "--model", "lite", *FAST)
    assert [row["name"] for row in report()["methods"]] == ["input", "bicubic", "lite"], result.output
    result = run("--truth", "truth", "--sr", "4", *FAST)
    assert [row["name"] for row in report()["methods"]] == ["bicubic"], result.output
    save(Path("small"), size=12)
    result = run("--truth", "truth", "--input", "small", "--sr", "4", "--model", "lite", *FAST)
    assert [row["name"] for row in report()["methods"]] == ["bicubic", "lite"], result.output


def test_an_input_is_judged_beside_the_model(run: Run, fakes: FakeNetworks) -> None:
    result = run("--truth", "truth", "--input", "bad", "--model", "ours=lite", *FAST)
    assert [row["name"] for row in report()["methods"]] == ["input", "ours"], result.output
    assert report()["methods"][0]["summary"]["psnr"]["mean"] == pytest.approx(22.11, abs=0.01)


def test_what_cannot_be_had_is_skipped_by_name(run: Run) -> None:
    pytest.importorskip("lpips")
    result = run("--truth", "truth", "--restored", "good", "--detector", "detector-lite")
    assert result.exit_code == 0, result.output
    for label, reason in (
        ("LPIPS", "vgg16 is not on disk"),
        ("Deg.", "arcface is not on disk"),
        ("NIQE", "niqe"),
        ("FID", "it needs --reference"),
    ):
        (line,) = [line for line in result.stderr.splitlines() if line.startswith(f"{label} is skipped")]
        assert reason in line
    found = report()
    assert [item["metric"] for item in found["skipped"]] == ["lpips", "deg", "niqe", "fid"]
    (lmd,) = [metric for metric in found["metrics"] if metric["name"] == "lmd"]
    assert lmd["weights"][0]["name"] == "detector-lite"
    assert "PSNR" in result.stdout and "LPIPS" not in result.stdout
    assert run("--truth", "truth", "--restored", "good", "-q", *FAST).stderr == ""


def test_one_broken_picture_is_reported_and_the_rest_judged(run: Run) -> None:
    Path("good/sub/b.bmp").write_bytes(b"BM broken")
    result = run("--truth", "truth", "--restored", "good", "--restored", "bad", *FAST)
    assert result.exit_code == 7 and "good/sub/b.bmp" in result.stderr
    assert result.stdout.startswith("2 pictures")
    found = report()
    assert [item["picture"] for item in found["failed"]] == ["sub/b"]
    assert [set(row["scores"]) for row in found["methods"]] == [{"a", "c"}] * 2


def test_all_broken(run: Run) -> None:
    for name in NAMES:
        Path(f"good/{name}.bmp").write_bytes(b"BM broken")
    result = run("--truth", "truth", "--restored", "good", *FAST)
    assert result.exit_code == 3 and result.stdout == "" and not Path("report/report.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "There is nothing to judge"),
        (["--truth", "truth"], 2, "There is nothing to judge"),
        (["--model", "lite"], 2, "--model needs something to restore"),
        (["--degrade", "paper", "--model", "lite"], 2, "give --truth, too"),
        (["--truth", "truth", "--degrade", "paper", "--input", "bad"], 2, "give one of them"),
        (["--truth", "truth", "--degrade", "hard"], 2, "choose one of paper, released"),
        (["--truth", "truth", "--restored", "good", "--metrics", "beauty"], 2, "beauty is no metric"),
        (["--restored", "good", "--metrics", "psnr"], 2, "PSNR cannot be measured: it needs --truth"),
        (["--restored", "good", "--metrics", "fid"], 2, "FID cannot be measured: it needs --reference"),
        (["--truth", "truth", "--restored", "good", "--metrics", "deg"], 5, "arcface is not on disk"),
        (["--truth", "absent", "--restored", "good"], 3, "absent: there is no such folder"),
        (["--truth", "empty", "--restored", "good"], 3, "empty holds no photographs"),
        (["--truth", "truth", "--restored", "fewer"], 2, "fewer has no picture for truth/sub/b.png"),
        (["--truth", "fewer", "--restored", "truth"], 2, "fewer has no picture for truth/sub/b.png"),
        (["--truth", "truth", "--restored", "small"], 2, "small/a.png is 12×12 where truth/a.png is 48×48"),
        (["--truth", "truth", "--input", "small", "--sr", "2"], 2, "small/a.png is 12×12"),
        (["--truth", "truth", "--restored", "good", "--restored", "good"], 2, "Two methods are called good"),
        (["--truth", "truth", "--restored", "good", "--against", "good"], 2, "nothing to compare with good"),
        (["--truth", "truth", "--restored", "good", "--against", "absent"], 3, "absent"),
        (["--truth", "truth", "--restored", "good", "-o", "good/report"], 2, "would lie among the pictures"),
        (["--truth", "truth", "--restored", "good", *FAST, "-o", "file/report"], 4, "file"),
        (["--truth", "truth", "--sr", "4", "--model", "absent.pth"], 5, "absent.pth"),
        (["--truth", "truth", "--sr", "1"], 2, "--sr"),
    ],
)
def test_refusals(run: Run, arguments: list[str], code: int, message: str) -> None:
    Path("empty").mkdir()
    Path("file").write_text("x")
    save(Path("fewer"))
    Path("fewer/sub/b.png").unlink()
    save(Path("small"), size=12)
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert message in result.stderr and "Traceback" not in result.stderr
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_without_a_model(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "OpenedNetworks", lambda *args, **keywords: NoWeights())
    result = run("--truth", "truth", "--sr", "4", "--model", "auto", *FAST)
    assert result.exit_code == 5 and "There is no face model" in result.stderr


def test_statistics_for_fid_must_be_some(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from restorer.evaluation import fid, metrics

    def features(pictures: Any) -> Any:
        return np.array([[p.mean(), p.std()] for p in pictures])

    monkeypatch.setattr(metrics.fid, "open_features", lambda tools: features)
    result = run("--restored", "bad", "--reference", "truth", "--metrics", "fid")
    assert result.exit_code == 0, result.output
    # All means differ by 20 levels, no deviation does.
    assert report()["methods"][0]["summary"]["fid"]["mean"] == pytest.approx(400, abs=1e-6)
    assert report()["reference_pictures"] == 3
    kept = fid.Gaussian.load(Path("report/reference.npz"))
    Path("kept.npz").write_bytes(kept.save())
    again = run("--restored", "bad", "--reference", "kept.npz", "--metrics", "fid", "-o", "again")
    assert again.stdout == result.stdout and not Path("again/reference.npz").exists()
    Path("other.npz").write_text("text")
    other = run("--restored", "bad", "--reference", "other.npz", "--metrics", "fid")
    assert other.exit_code == 3 and "other.npz" in other.stderr
