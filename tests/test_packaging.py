"""What an installation gets: extras, commands, and the bundled networks inside of the wheel."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """Return pyproject.toml."""
    settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return settings


def test_extras_and_commands(project: dict[str, Any]) -> None:
    extras = project["project"]["optional-dependencies"]
    assert {"demo", "test", "heif"} <= extras.keys()
    assert any(line.startswith("scikit-image") for line in extras["demo"])
    assert any(line.startswith("pillow-heif") for line in extras["heif"])
    (reference,) = [line for line in extras["test"] if line.startswith("realesrgan")]
    assert reference.partition(";")[2].strip() == "python_version < '3.13'"
    assert set(project["project"]["scripts"]) == {"restore", "restorer"}
    assert project["project"]["requires-python"] == ">=3.10"


def test_only_the_package_is_packed(project: dict[str, Any]) -> None:
    targets = project["tool"]["hatch"]["build"]["targets"]
    assert targets["wheel"]["packages"] == ["restorer"]
    assert targets["wheel"]["force-include"] == {"weights": "restorer/_bundled"}
    assert {"restorer", "weights", "tests"} <= set(targets["sdist"]["include"])


WHERE = """
import sys
from restorer.weights import WeightStore, folders
store = WeightStore(offline=True)
print(folders.bundled_folder(), *(store.verify(name).path for name in sys.argv[1:]), sep="\\n")
"""


def test_an_installed_wheel_finds_its_networks(tmp_path: Path) -> None:
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("building a wheel here needs hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    assert {path.name.partition("-")[0] for path in installed.iterdir()} == {"restorer"}
    assert (installed / "restorer" / "py.typed").exists()
    bundled = installed / "restorer" / "_bundled"
    rows = json.loads((bundled / "manifest.json").read_text(encoding="utf-8"))["weights"]
    names = [row["name"] for row in rows if row["bundled"]]
    command = [sys.executable, "-c", WHERE, *names]
    # not from the checkout, and not from an editable installation of it
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True
    )
    found = [Path(line) for line in done.stdout.splitlines()]
    assert found == [bundled, *(bundled / row["file"] for row in rows if row["bundled"])], done.stderr
    assert set(names) == {"lite", "detector-lite"}
