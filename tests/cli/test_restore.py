"""The command in this process: output, errors, exception and exit code together."""

from __future__ import annotations

import io
import json
import re
import struct
import subprocess
import sys
import zlib
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from restorer import api
from restorer.cli.options import FORMATS
from restorer.cli.restore import Request, restore_command
from restorer.options import RestoreOptions
from restorer.outputs import OutputOptions
from restorer.photo import FORMAT_CHOICES
from restorer.photo import FORMATS as PHOTO_FORMATS
from tests.cli.conftest import Run, picture
from tests.fakes import FakeEngine, FakeNetworks, NoWeights, brighter, failing_on, many_faces, no_face, short_of_memory

KEYS = ["schema", "input", "output", "comparison", "status", "reason", "size_in", "size_out", "faces", "model"]
KEYS += ["upscale", "bg_upsampler", "mask", "device", "precision", "seconds", "warnings"]


def test_a_photograph(run: Run, photo: Path) -> None:
    result = run(photo)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("photo.jpg -> restored/photo.jpg: 1 face restored\n")
    assert "1 restored, 0 unchanged, 0 skipped, 0 failed (1 face) in " in result.stderr
    assert size("restored/photo.jpg") == (192, 160)
    assert size("restored/comparisons/photo.jpg")[0] > 2 * 192
    assert not Path("restored/faces").exists()


def test_a_tree_of_folders(run: Run, photo: Path) -> None:
    picture("album/a.png")
    picture("album/sub/b.jpg")
    assert run("album", "-o", "out").exit_code == 0
    assert sorted(path.as_posix() for path in Path("out").rglob("*.*")) == ["out/a.png", "out/comparisons/a.png.jpg"]
    assert run("album", "-o", "out", "-r", "--no-compare", "--save-faces", "-q").stderr == ""
    assert Path("out/sub/b.jpg").exists() and Path("out/faces/sub/b.jpg_00.png").exists()
    assert not Path("out/comparisons/sub").exists()


def test_results_are_never_inputs(run: Run, photo: Path) -> None:
    assert run(".", "-r", "-o", "out").exit_code == 0
    again = run(".", "-r", "-o", "out")
    assert again.exit_code == 0 and again.stderr.count(" -> ") == 1


def test_json(run: Run, photo: Path) -> None:
    picture("second.png")
    Path("text.jpg").write_text("text")
    result = run(photo, "text.jpg", "second.png", "--json")
    first, bad, second = (json.loads(line) for line in result.stdout.splitlines())
    assert result.exit_code == 7
    assert all(list(report) == KEYS for report in (first, bad, second))
    assert (first["schema"], first["input"], first["output"]) == (1, "photo.jpg", "restored/photo.jpg")
    assert (first["status"], first["reason"], first["comparison"]) == (
        "restored",
        None,
        "restored/comparisons/photo.jpg",
    )
    assert (first["size_in"], first["size_out"]) == ([96, 80], [192, 160])
    (face,) = first["faces"]
    assert list(face) == ["box", "score", "landmarks", "restored", "reason"]
    assert face["box"] == [28, 20, 68, 60] and np.shape(face["landmarks"]) == (5, 2) and face["restored"] is True
    assert first["model"] == {"name": "fake", "sha256": "0" * 64, "fallback": False}
    assert (first["upscale"], first["bg_upsampler"], first["mask"]) == (2.0, "none", "points")
    assert (first["device"], first["precision"]) == ("cpu", "fp32")
    assert (bad["status"], bad["output"], bad["faces"]) == ("failed", None, [])
    assert second["input"] == "second.png" and second["output"] == "restored/second.png"


def test_no_face(run: Run, networks: FakeNetworks, photo: Path) -> None:
    networks._find = no_face
    result = run(photo)
    assert result.exit_code == 0 and "unchanged, no face found" in result.stderr
    assert size("restored/photo.jpg") == (192, 160)


def test_sixty_faces(run: Run, networks: FakeNetworks, photo: Path) -> None:
    networks._find = many_faces(60)
    result = run(picture("crowd.png", 640, 640), "--upscale", "1", "--save-faces", "--no-compare")
    assert result.exit_code == 0 and "60 faces restored" in result.stderr
    assert len(list(Path("restored/faces").iterdir())) == 60


def test_standard_output(run: Run, photo: Path) -> None:
    result = run(photo, "-o", "-")
    assert result.exit_code == 0 and size(result.stdout_bytes) == (192, 160)
    assert not Path("restored").exists()


def test_standard_input(run: Run, photo: Path) -> None:
    result = run("-", "-o", "-", "--format", "png", stdin=photo.read_bytes())
    assert result.exit_code == 0 and Image.open(io.BytesIO(result.stdout_bytes)).format == "PNG"
    assert run("-", stdin=photo.read_bytes()).exit_code == 0
    assert Path("restored/stdin.jpg").exists()
    empty = run("-", "-o", "-", stdin=b"")
    assert (empty.exit_code, empty.stdout_bytes) == (
        3,
        b"",
    ) and "Cannot read standard input: it is empty" in empty.stderr


def test_one_file(run: Run, photo: Path) -> None:
    assert run(photo, "-o", "x/y.png").exit_code == 0
    assert [path.name for path in Path("x").iterdir()] == ["y.png"]
    assert run(photo, "-o", "x/y.png", "--compare").exit_code == 0
    assert Path("x/y.compare.jpg").exists()


def test_names_from_a_list(run: Run, photo: Path) -> None:
    picture("a\nb.png")
    Path("list").write_bytes(b"photo.jpg\0a\nb.png\0")
    assert run("--files-from", "list", "-0", "-o", "one").exit_code == 0
    assert len(list(Path("one").glob("*.*"))) == 2
    assert run("-0", "-o", "two", stdin=b"photo.jpg\0").exit_code == 0
    assert run("--files-from", "-", "-o", "three", stdin=b"photo.jpg\n").exit_code == 0
    assert Path("two/photo.jpg").exists() and Path("three/photo.jpg").exists()
    nothing = run("--files-from", "-", stdin=b"\n")
    assert nothing.exit_code == 3 and "holds no names" in nothing.stderr
    assert run("--files-from", "missing").exit_code == 3


def test_dry_run(run: Run, photo: Path) -> None:
    result = run(photo, "--dry-run", "--min-face", "50")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "photo.jpg: 96×80, 1 face",
        "   0  at 28,20, 40×40 pixels, score 0.99, left alone: smaller than 50 pixels (--min-face)",
    ]
    assert not Path("restored").exists()
    report = json.loads(run(photo, "--dry-run", "--json").stdout)
    assert (report["status"], report["reason"], report["output"]) == ("skipped", "dry run", None)
    assert report["faces"][0]["restored"] is False and report["faces"][0]["reason"] is None


def test_overview(run: Run, photo: Path) -> None:
    assert run(photo, "--dry-run", "--overview", "o/faces.png").exit_code == 0
    drawn, plain = (np.asarray(Image.open(path).convert("RGB")).astype(int) for path in ("o/faces.png", photo))
    changed = np.argwhere(np.abs(drawn - plain).max(axis=-1) > 0)
    assert len(changed) and changed[:, 1].min() >= 26 and changed[:, 1].max() <= 70
    assert run(photo, "--dry-run", "--overview", photo).exit_code == 2
    assert run(photo, photo, picture("b.png"), "--dry-run", "--overview", "x.png").exit_code == 2
    assert run(photo, "--overview", "x.png").exit_code == 2


def test_skip_existing(run: Run, photo: Path) -> None:
    Path("restored").mkdir()
    Path("restored/photo.jpg").write_text("mine")
    result = run(photo, "--skip-existing")
    assert result.exit_code == 0 and "skipped, the output exists already" in result.stderr
    assert Path("restored/photo.jpg").read_text() == "mine"


def test_disclosing_caption(run: Run, photo: Path) -> None:
    assert run(photo, "--disclose", "caption").exit_code == 0
    with_caption = size("restored/comparisons/photo.jpg")[1]
    assert run(photo, "--disclose", "metadata").exit_code == 0
    assert with_caption > size("restored/comparisons/photo.jpg")[1]
    for options in (["-o", "-"], ["--no-compare"], ["-o", "x.jpg"]):
        assert run(photo, "--disclose", "caption", *options).exit_code == 2


def test_quality(run: Run, photo: Path) -> None:
    sizes = []
    for quality in ("50", "auto", "100"):
        assert run(photo, "-o", "x.jpg", "--quality", quality).exit_code == 0
        sizes.append(Path("x.jpg").stat().st_size)
    assert sizes[0] < sizes[1] < sizes[2]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Name a photograph, a folder, or - for standard input"),
        (["missing.jpg"], 3, "Cannot read missing.jpg: there is no such file"),
        (["empty"], 3, "empty holds no photographs"),
        (["text.jpg"], 3, "Cannot read text.jpg: it is not a photograph"),
        (["cut.jpg"], 3, "Cannot read cut.jpg: the JPEG file is damaged or cut off"),
        (["zero.jpg"], 3, "Cannot read zero.jpg: it is empty"),
        (["bomb.png"], 3, "20000×20000 is more than 300 megapixels"),
        (["photo.jpg", "text.jpg"], 7, "1 failed"),
        (["photo.jpg", "-o", "blocked/out"], 4, "blocked is not a folder"),
        (["photo.jpg", "-o", "blocked"], 4, "blocked is not a folder"),
        (["photo.jpg", "-o", "x.gif"], 4, "x.gif"),
        (["photo.jpg", "-o", "."], 2, "is an input"),
        (["photo.jpg", "sub/photo.jpg"], 2, "would both be written to"),
        (["photo.jpg", "sub/photo.jpg", "-o", "-"], 2, "-o - writes one photograph"),
        (["photo.jpg", "-o", "-", "--json"], 2, "both write to standard output"),
        (["photo.jpg", "-o", "-", "--compare"], 2, "--compare needs files"),
        (["-", "--files-from", "-"], 2, "cannot hold both"),
        (["photo.jpg", "-0"], 2, "give --files-from, too"),
        (["photo.jpg", "--strength", "2"], 2, "--strength 2 is out of range"),
        (["photo.jpg", "--upscale", "0"], 2, "--upscale 0 is out of range"),
        (["photo.jpg", "--upscale", "wide"], 2, "'wide' is not a valid float"),
        (["photo.jpg", "--batch", "few"], 2, "'few' is neither a number nor 'auto'"),
        (["photo.jpg", "--quality", "0"], 2, "--quality 0 is out of range"),
        (["photo.jpg", "--faces", "some"], 2, "'some' is not one of 'all', 'largest', 'center'"),
        (["photo.jpg", "--nonsense"], 2, "No such option"),
    ],
)
def test_bad_input(run: Run, photo: Path, arguments: list[str], code: int, message: str) -> None:
    Path("empty").mkdir()
    picture("sub/photo.jpg")
    Path("blocked").touch()
    Path("text.jpg").write_text("text")
    Path("cut.jpg").write_bytes(photo.read_bytes()[:-700])
    Path("zero.jpg").touch()
    Path("bomb.png").write_bytes(_bomb())
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, "") and message in result.stderr
    assert isinstance(result.exception, SystemExit) and "Traceback" not in result.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert not list(Path().rglob("*.part"))


def _bomb() -> bytes:
    """Return a PNG of a few bytes whose header claims 20000×20000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    chunks = [header, b"IDAT" + zlib.compress(bytes(100)), b"IEND"]
    packed = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def size(path: str | Path | bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(path) if isinstance(path, bytes) else path) as picture:
        return picture.size


def test_one_pixel(run: Run, photo: Path) -> None:
    Image.new("RGB", (1, 1), (9, 8, 7)).save("dot.png")
    assert run("dot.png").exit_code == 0
    assert size("restored/dot.png") == (2, 2)


@pytest.mark.parametrize(
    ("fakes", "code", "message"),
    [
        (NoWeights(), 5, "There is no face model"),
        (FakeNetworks(engine=FakeEngine(short_of_memory)), 6, "does not suffice even for one face"),
        (FakeNetworks(engine=FakeEngine(failing_on(1, RuntimeError("no luck")))), 1, "a fault of this program"),
    ],
)
def test_faults_of_networks(
    photo: Path, monkeypatch: pytest.MonkeyPatch, fakes: FakeNetworks, code: int, message: str
) -> None:
    monkeypatch.setattr(api, "OpenedNetworks", lambda *args, **keywords: fakes)
    result = CliRunner().invoke(restore_command, ["photo.jpg"])
    assert result.exit_code == code and message in result.stderr and result.stderr.count(message) == 1
    assert not list(Path("restored").rglob("*.*"))


def test_verbose_shows_the_traceback(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = FakeNetworks(engine=FakeEngine(failing_on(1, RuntimeError("no luck"))))
    monkeypatch.setattr(api, "OpenedNetworks", lambda *args, **keywords: fakes)
    result = CliRunner().invoke(restore_command, ["photo.jpg", "-v"])
    assert "Traceback" in result.stderr and "in failing_on" not in result.stdout


def test_fault_outside_of_any_photograph(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restorer.cli.restore.plan", lambda *args: 1 / 0)
    result = CliRunner().invoke(restore_command, ["photo.jpg"])
    assert result.exit_code == 1 and "ZeroDivisionError" in result.stderr and "-v shows where" in result.stderr


@pytest.mark.parametrize(("model", "code"), [("nonsense", 2), ("missing.pth", 5), ("text.pth", 5), ("cut.pth", 5)])
def test_models_that_are_none(photo: Path, monkeypatch: pytest.MonkeyPatch, model: str, code: int) -> None:
    """The real way to the face model, behind a detector that finds a face."""
    import torch

    from restorer.pipeline import networks as real

    torch.save({"weight": torch.zeros(9, 9)}, "other.pth")
    Path("text.pth").write_text("text")
    Path("cut.pth").write_bytes(Path("other.pth").read_bytes()[:200])
    monkeypatch.setattr(real.OpenedNetworks, "find", lambda self: FakeNetworks().find())
    result = CliRunner().invoke(restore_command, ["photo.jpg", "--model", model, "--offline"])
    assert result.exit_code == code and model in result.stderr and "Traceback" not in result.stderr
    assert not list(Path("restored").rglob("*.*"))
    other = CliRunner().invoke(restore_command, ["photo.jpg", "--model", "other.pth", "--offline"])
    assert other.exit_code == 5 and "other.pth" in other.stderr


def test_noise_of_libraries_stays_out_of_the_results(run: Run, networks: FakeNetworks, photo: Path) -> None:
    def change(batch: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        print("noise")
        return brighter(batch)

    networks.engine.change = change
    result = run(photo, "--json")
    assert len(result.stdout.splitlines()) == 1 and "noise" in result.stderr


def test_file_names_are_shown_safely(run: Run, photo: Path) -> None:
    photo.rename("a\x1b[31m.jpg")
    result = run("a\x1b[31m.jpg", "--dry-run")
    assert "\x1b" not in result.output and "\\x1b" in result.stdout


def test_help_names_every_field() -> None:
    text = CliRunner().invoke(restore_command, ["--help"]).stdout
    names = {field.name for kind in (RestoreOptions, OutputOptions, Request) for field in fields(kind)}
    names -= {"names", "as_json"}
    for name in names:
        assert f"--{name.replace('_', '-')}" in text, name
    for heading in ("Input:", "Output:", "Faces:", "Networks:", "Messages:", "Examples:", "Exit codes:"):
        assert heading in text
    assert max(map(len, text.splitlines())) <= 80


def test_formats_are_those_of_the_package() -> None:
    assert set(FORMATS) - {"auto"} <= set(FORMAT_CHOICES)
    offered = {FORMAT_CHOICES[name] for name in FORMATS if name != "auto"}
    assert offered == {name for name, kind in PHOTO_FORMATS.items() if kind.depths}


def test_version() -> None:
    from restorer import __version__

    assert CliRunner().invoke(restore_command, ["--version"]).stdout == f"restorer, version {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    code = "from restorer.cli.restore import main; main()"
    environment = {"_RESTORE_COMPLETE": f"{shell}_source", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    if shell == "bash" and done.returncode:
        pytest.skip("bash of 4.4 or newer is not here")
    assert re.search(r"_restore_completion", done.stdout)


def test_numbers_of_faces_agree_everywhere(run: Run, networks: FakeNetworks, photo: Path) -> None:
    networks._find = many_faces(3)
    listed = run(photo, "--dry-run", "--overview", "faces.png", "--select", "2,0")
    lines = listed.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["0", "1", "2"]
    assert "left alone: not selected" in lines[2] and "left alone" not in lines[1] + lines[3]
    result = run(photo, "--select", "0,2", "--json", "--save-faces")
    assert [face["restored"] for face in json.loads(result.stdout)["faces"]] == [True, False, True]
    assert sorted(path.name for path in Path("restored/faces").iterdir()) == ["photo.jpg_00.png", "photo.jpg_02.png"]


@pytest.mark.parametrize("numbers", ["", "a", "1,", "-1", "1-3", "٣", "9999999999"])
def test_selections_that_are_no_numbers(run: Run, photo: Path, numbers: str) -> None:
    assert run(photo, "--select", numbers).exit_code == 2


def test_selection_is_for_one_photograph(run: Run, photo: Path) -> None:
    result = run(photo, picture("second.jpg"), "--select", "0")
    assert result.exit_code == 2 and "--select names faces of one photograph, and there are 2" in result.stderr
    missing = run(photo, "--select", "7")
    assert missing.exit_code == 2 and "There is no face 7" in missing.stderr and not Path("restored/photo.jpg").exists()
