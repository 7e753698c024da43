"""``restorer weights``: results on standard output, talk on standard error, exit codes by the errors raised."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import restorer.weights
from restorer.cli.download_bar import DownloadBar
from restorer.cli.weights import NEEDED, weights_group
from restorer.errors import ExitCode, RestorerError
from restorer.weights import WeightFile, read_table

BODY = b"weights" * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the commands a small table and a folder of their own."""
    bundled = tmp_path / "bundled"
    bundled.mkdir()
    (bundled / "lite.safetensors").write_bytes(BODY)

    def row(name: str, **changes: object) -> WeightFile:
        values = {
            "kind": "face",
            "urls": ("https://weights.invalid/x",),
            "size": len(BODY),
            "sha256": SHA256,
            **changes,
        }
        file = changes.get("file", f"{name}.pth")
        return WeightFile(
            name=name, architecture="", confirmed="", licence="MIT (mostly)", source="", **{**values, "file": file}
        )

    rows = [row("a"), row("b"), row("lite", file="lite.safetensors", urls=(), bundled=True)]
    monkeypatch.setattr("restorer.weights.store.read_table", lambda: {row.name: row for row in rows})
    monkeypatch.setattr("restorer.weights.store.bundled_folder", lambda: bundled)
    monkeypatch.setenv("RESTORER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "weights").mkdir()
    monkeypatch.setenv("RESTORER_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(weights_group, [str(argument) for argument in arguments])


def failure(result: Result) -> tuple[ExitCode, str]:
    assert isinstance(result.exception, RestorerError), result.output
    return result.exception.exit_code, str(result.exception)


def test_list_tells_state_and_place(folder: Path) -> None:
    (folder / "a.pth").write_bytes(BODY)
    result = run("list")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["NAME", "KIND", "SIZE", "STATE", "LICENCE", "PATH"]
    assert lines[1] == ["a", "face", "7.0", "kB", "unchecked", "MIT*", str(folder / "a.pth")]
    assert lines[2] == ["b", "face", "7.0", "kB", "absent", "MIT*", "-"]
    assert "conditions" in result.stderr


def test_list_as_json_lines(folder: Path) -> None:
    (folder / "a.pth").write_bytes(BODY[:-1])
    rows = {row["name"]: row for row in map(json.loads, run("list", "--json").stdout.splitlines())}
    assert list(rows) == ["a", "b", "lite"]
    assert (rows["a"]["state"], rows["a"]["path"]) == ("wrong", str(folder / "a.pth"))
    assert (rows["b"]["state"], rows["b"]["path"], rows["b"]["sha256"]) == ("absent", None, SHA256)


def test_get_prints_the_path_of_what_is_there(folder: Path) -> None:
    (folder / "a.pth").write_bytes(BODY)
    result = run("get", "a", "lite")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [str(folder / "a.pth"), str(folder.parent / "bundled" / "lite.safetensors")]


def test_get_goes_on_after_a_failure(folder: Path) -> None:
    (folder / "b.pth").write_bytes(BODY)
    result = run("get", "a", "b", "--offline")
    assert result.stdout.splitlines() == [str(folder / "b.pth")]
    assert failure(result)[0] == ExitCode.WEIGHTS
    assert "--offline" in failure(result)[1]


def test_several_failures_are_all_told(folder: Path) -> None:
    result = run("get", "a", "b", "--offline")
    assert failure(result) == (ExitCode.WEIGHTS, "2 of 2 weight files failed, see above.")
    assert result.stderr.count("--offline forbids") == 2


def test_get_needs_a_name(folder: Path) -> None:
    result = run("get")
    assert result.exit_code == ExitCode.USAGE
    assert "--all-needed" in result.stderr


def test_unknown_names_are_refused_before_anything_is_done(folder: Path) -> None:
    (folder / "a.pth").write_bytes(BODY)
    for command in ("get", "verify", "remove", "path"):
        arguments = ("nothing",) if command == "path" else ("a", "nothing")
        assert failure(run(command, *arguments)) == (
            ExitCode.USAGE,
            "nothing is no weight file in the table: choose one of a, b, lite.",
        )
    assert (folder / "a.pth").is_file()


def test_all_needed_are_rows_of_the_real_table() -> None:
    assert set(NEEDED) <= set(read_table())


def test_verify_all_that_is_there(folder: Path) -> None:
    (folder / "a.pth").write_bytes(BODY)
    result = run("verify")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == f"a: as stated, SHA-256 {SHA256}, {folder / 'a.pth'}"
    assert len(result.stdout.splitlines()) == 2


def test_verify_finds_what_is_wrong(folder: Path) -> None:
    (folder / "a.pth").write_bytes(BODY[:-1] + b"!")
    result = run("verify")
    assert failure(result)[0] == ExitCode.WEIGHTS
    assert "restorer weights remove a" in failure(result)[1]
    assert result.stdout.startswith("lite: as stated")
    assert failure(run("verify", "b"))[0] == ExitCode.WEIGHTS


def test_path(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.pth").write_bytes(BODY)
    assert run("path", "b", "--weights-dir", tmp_path / "other").stdout == f"{tmp_path / 'other' / 'b.pth'}\n"
    assert failure(run("path", "b"))[0] == ExitCode.WEIGHTS


def test_remove(folder: Path) -> None:
    (folder / "a.pth").write_bytes(BODY)
    (folder / "b.pth.part").write_bytes(BODY)
    result = run("remove", "a", "b")
    assert result.stdout.splitlines() == [str(folder / "a.pth"), str(folder / "b.pth.part")]
    assert list(folder.iterdir()) == []
    again = run("remove", "a")
    assert (again.exit_code, again.stdout, again.stderr) == (0, "", "a is not on disk\n")
    code, sentence = failure(run("remove", "lite"))
    assert code == ExitCode.WEIGHTS and "part of the installation" in sentence


def test_the_bar_is_on_standard_error_and_only_where_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with DownloadBar() as bar:
        bar("net.pth", 10, 20)
    with DownloadBar(shown=True) as bar:
        bar("net.pth", 10, 20)
        bar("net.pth", 20, 20)
        bar("next.pth", 5, None)
    out, err = capsys.readouterr()
    assert out == ""
    assert "net.pth" in err and "next.pth" in err
    with DownloadBar() as bar:
        bar("net.pth", 10, 20)
    assert capsys.readouterr() == ("", "")


def test_list_loads_no_torch() -> None:
    code = (
        "import sys; from restorer.cli.weights import weights_group; "
        "weights_group(['list'], standalone_mode=False); sys.exit('torch' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(restorer.weights.__file__).parents[2])}
    result = subprocess.run([sys.executable, "-c", code], env=env, timeout=30, capture_output=True, text=True)
    assert result.returncode == 0
    assert "gfpgan-1.4" in result.stdout
