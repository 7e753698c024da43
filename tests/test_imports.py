"""The arrows of import between the parts of the package, and what must stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import restorer

ROOT = Path(restorer.__file__).parent
# From the ground up: a part may import from lower floors and itself; parts of one floor know nothing of each other.
FLOORS = (
    ("errors", "contract"),
    ("faces", "options", "resample", "network_values"),
    ("photo", "report", "weights", "networks", "tone"),
    ("inputs", "checkpoints"),
    ("outputs", "runtime"),
    ("pipeline", "training"),
    ("evaluation",),
    ("api", "facesets"),
    ("cli",),
    ("__init__", "__main__"),
)
FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}
STEPS = (
    "detect",
    "select",
    "align",
    "restore",
    "sharpness",
    "drawing",
    "colour",
    "grain",
    "upsample",
    "mask",
    "paste",
    "compare",
    "overview",
    "identity",
)
LIGHT = ("errors", "contract", "options", "report", "inputs", "outputs")
HEAVY = ("torch", "torchvision", "numpy", "cv2", "PIL", "openvino", "facexlib", "spandrel")


def _part(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def _imports(path: Path) -> set[str]:
    """Return the package's modules a file imports, anywhere in it, but for type checking."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "restorer"}


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows(path: Path) -> None:
    home = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert home in FLOOR, f"{home} has no floor: give it one here"
    if home == "__init__":
        return
    for name in _imports(path):
        part = _part(name)
        if part in ("__version__", home):
            continue
        assert FLOOR[part] < FLOOR[home], f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("step", STEPS)
def test_steps_do_not_know_each_other(step: str) -> None:
    others = {f"restorer.pipeline.{other}" for other in STEPS if other != step}
    for name in _imports(ROOT / "pipeline" / f"{step}.py"):
        assert not any(name == other or name.startswith(f"{other}.") for other in others), name


@pytest.mark.parametrize("part", LIGHT)
def test_values_are_light(part: str) -> None:
    tree = ast.parse((ROOT / f"{part}.py").read_text(encoding="utf-8"))
    names = [name for node in tree.body if isinstance(node, ast.Import) for name in (a.name for a in node.names)]
    names += [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert not {name.split(".")[0] for name in names} & set(HEAVY)


def _loaded(code: str) -> set[str]:
    """Return which of the heavy libraries a fresh interpreter has loaded after running code."""
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit: pass\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stderr.split()} & set(HEAVY)


@pytest.mark.parametrize(
    "code",
    [
        "import restorer",
        "from restorer import RestoreOptions, PhotoError, Status, OutputOptions",
        "from restorer.cli.restore import restore_command; restore_command(['--help'])",
        "from restorer.cli.group import group; group(['--help'])",
        "from restorer.cli.group import group; group(['--version'])",
    ],
)
def test_help_loads_nothing_heavy(code: str) -> None:
    assert _loaded(code) == set()


def test_weights_list_loads_no_networks_library() -> None:
    code = "from restorer.cli.group import group; group(['weights', 'list'])"
    assert not _loaded(code) & {"torch", "openvino", "cv2"}


def test_the_way_to_the_networks_loads_no_torch() -> None:
    assert "torch" not in _loaded("import restorer.api")


def test_http_is_loaded_for_a_download_only() -> None:
    script = "import sys, restorer.api, restorer.runtime.cache; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "restorer.weights.store" in loaded
    assert not {"http.client", "ssl", "filelock"} & set(loaded)


def test_networks_and_training_load_in_a_plain_pytorch_image() -> None:
    """There are torch, numpy, opencv, pillow, click and tqdm, and none of the other libraries."""
    others = ("facexlib", "spandrel", "openvino", "safetensors", "platformdirs", "filelock", "torchvision", "skimage")
    parts = [path.relative_to(ROOT) for folder in ("networks", "training") for path in (ROOT / folder).rglob("*.py")]
    names = [".".join(("restorer", *path.with_suffix("").parts)).removesuffix(".__init__") for path in parts]
    script = "import sys\nfrom importlib import import_module\n"
    script += f"for name in {others}: sys.modules[name] = None\nfor name in {names}: import_module(name)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_public_names_are_there() -> None:
    for name in restorer.__all__:
        assert getattr(restorer, name) is not None
    assert set(restorer.__all__) <= set(dir(restorer))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        restorer.nonsense  # noqa: B018


LAZY = ("fft", "random", "polynomial", "ma", "char", "rec", "strings", "ctypeslib", "testing")
"""Parts of NumPy that it loads when they are first asked for by their names."""
THREADED = ("photo", "pipeline", "runtime", "resample", "tone", "network_values")


def _lazy_parts(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hints = {
        id(inner)
        for node in ast.walk(tree)
        for name in ("annotation", "returns")
        if isinstance(hint := getattr(node, name, None), ast.AST)
        for inner in ast.walk(hint)
    }
    return [
        f"{path.name}:{node.lineno}: np.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "np" and node.attr in LAZY
        if id(node) not in hints
    ]


def test_numpys_parts_are_imported_by_name() -> None:
    """``np.fft`` first asked for by two threads at once recurses until Python gives up: NumPy asks itself for it."""
    files = [path for path in FILES if path.relative_to(ROOT).parts[0].removesuffix(".py") in THREADED]
    assert len(files) > 50
    assert [use for path in files for use in _lazy_parts(path)] == []
    probe = ROOT.parent / "tests" / "pipeline" / "test_paste.py"
    assert _lazy_parts(probe)  # the search finds what it looks for
