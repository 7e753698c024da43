"""Completion as the shells do it: click's script loaded into bash, zsh and fish, and asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from restorer.cli.weights import NEEDED
from restorer.weights import read_table

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX shells")


@pytest.fixture(autouse=True)
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put both commands on the path, and a photograph into the working folder."""
    for name, module in (("restore", "restore"), ("restorer", "group")):
        script = tmp_path / "bin" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"#!{sys.executable}\nfrom restorer.cli.{module} import main\nmain()\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "work" / "photos").mkdir(parents=True)
    (tmp_path / "work" / "photos" / "astronaut.jpg").touch()
    monkeypatch.chdir(tmp_path / "work")


def shell(*command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not here")
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.stderr == "", done.stderr
    return done.stdout


BASH = """
(( BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404 )) || { echo old; exit; }
compopt() { COMPREPLY+=("by bash: $2"); }  # the real one works within a key press only
eval "$(_RESTORE_COMPLETE=bash_source restore)"
eval "$(_RESTORER_COMPLETE=bash_source restorer)"
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 ))
"_${1}_completion" "$1"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(*words: str) -> list[str]:
    """Return what bash offers for the last word."""
    lines = shell("bash", "--norc", "-c", BASH, "bash", *words).splitlines()
    if lines == ["old"]:
        pytest.skip("bash of 4.4 or newer is not here")
    return lines


FILES = ["by bash: default"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("restore --bg", ["--bg-upsampler"]),
        ("restore --bg-upsampler realesrgan", ["realesrgan", "realesrgan-x4"]),
        ("restore photos/as", FILES),
        ("restore a.jpg b.j", FILES),
        ("restore -o ph", FILES),
        ("restore --files-from ph", FILES),
        ("restore --overview ph", FILES),
        ("restore --weights-dir ph", ["by bash: dirnames"]),
        ("restore --model gfpgan-1.", ["gfpgan-1.4", "gfpgan-1.3", "gfpgan-1.2"]),
        ("restore --model my.pt", FILES),
        ("restore --device c", ["cpu", "cuda"]),
        ("restorer we", ["weights"]),
        ("restorer weights rem", ["remove"]),
        ("restorer weights get realesrgan realesrgan", ["realesrgan-x4"]),
        ("restorer restore --strengt", ["--strength"]),
    ],
)
def test_bash(words: str, offered: list[str]) -> None:
    assert completed(*words.split()) == offered


def test_bash_offers_every_weight_file() -> None:
    assert completed("restorer", "weights", "path", "") == list(read_table())
    assert set(NEEDED) <= set(completed("restorer", "weights", "get", ""))


def test_fish() -> None:
    load = "_RESTORE_COMPLETE=fish_source restore | source; "
    offered = shell("fish", "--no-config", "-c", load + "complete -C 'restore --bg-upsampler realesrgan'")
    assert [line.split("\t")[0] for line in offered.splitlines() if line] == ["realesrgan", "realesrgan-x4"]
    assert "photos/astronaut.jpg" in shell("fish", "--no-config", "-c", load + "complete -C 'restore photos/as'")


def test_zsh() -> None:
    load = 'autoload -Uz compinit; compinit -u; eval "$(_RESTORE_COMPLETE=zsh_source restore)"; '
    assert shell("zsh", "-f", "-c", load + "print $_comps[restore]; whence -w $_comps[restore]").split() == [
        "_restore_completion",
        "_restore_completion:",
        "function",
    ]
