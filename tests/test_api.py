"""The package as a library: what a program that imports it may rely on, beyond what the command's tests show."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

import restorer
from restorer import (
    OutputError,
    OutputOptions,
    Photo,
    PhotoError,
    RestoreOptions,
    Restorer,
    Status,
    UsageError,
    WeightsError,
    read_photo,
    write_photo,
)
from tests.cli.conftest import picture
from tests.fakes import FakeEngine, FakeNetworks, brighter, no_face


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with two photographs."""
    monkeypatch.chdir(tmp_path)
    picture("a.jpg")
    picture("b.png")
    return tmp_path


def bright(**options: object) -> Restorer:
    return Restorer(RestoreOptions(**options), engines=FakeNetworks(engine=FakeEngine(brighter)))  # type: ignore[arg-type]


def test_the_example_of_the_package() -> None:
    result = bright(upscale=2).restore(read_photo("a.jpg"))
    assert write_photo(result.photo, "restored.jpg") == "JPEG"
    assert read_photo(Path("restored.jpg")).size == result.photo.size == (192, 160)
    assert (result.report.status, result.report.restored_faces) == (Status.RESTORED, 1)
    assert result.original.size == (96, 80) and len(result.faces) == 1


def test_the_command_writes_what_the_library_gives() -> None:
    bright().restore_files(["a.jpg"], OutputOptions(output="out")).__next__()
    write_photo(bright().restore(read_photo("a.jpg")).photo, "mine.jpg")
    assert Path("out/a.jpg").read_bytes() == Path("mine.jpg").read_bytes()


@pytest.mark.parametrize("name", ["a.jpg", Path("a.jpg"), ["a.jpg"], (name for name in ["a.jpg"])])
def test_one_name_may_stand_alone(name: object) -> None:
    reports = list(bright().restore_files(name, OutputOptions(output="out")))  # type: ignore[arg-type]
    assert [(report.input, report.status) for report in reports] == [("a.jpg", Status.RESTORED)]
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.jpg", "comparisons"]


def test_what_cannot_be_done_is_said_before_anything_is_asked_for() -> None:
    Path("file").touch()
    with pytest.raises(UsageError, match="is an input"):
        bright().restore_files("a.jpg", OutputOptions(output="."))
    with pytest.raises(OutputError, match="is not a folder"):
        bright().restore_files("a.jpg", OutputOptions(output="file"))
    with pytest.raises(PhotoError, match="no name was given"):
        bright().restore_files([])


def test_reports_come_as_they_are_asked_for() -> None:
    networks = FakeNetworks(no_face)
    reports = Restorer(engines=networks).restore_files(["a.jpg", "b.png"])
    assert networks.opened == []
    assert [report.status for report in reports] == [Status.UNCHANGED] * 2


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        ("nonsense", UsageError, "nonsense is no face network in the table"),
        ("retinaface-resnet50", UsageError, "retinaface-resnet50 is no face network"),
        ("missing.pth", WeightsError, "missing.pth does not exist"),
        (".", WeightsError, "is a folder"),
    ],
)
def test_models_that_cannot_be_meant_are_refused_at_once(model: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Restorer(RestoreOptions(model=model))


def test_a_folder_of_weights_by_its_name() -> None:
    assert "into here." in _fault(RestoreOptions(weights_dir="here", model="gfpgan-1.3", offline=True))


def _fault(options: RestoreOptions) -> str:
    with pytest.raises(WeightsError) as caught:
        Restorer(options).networks.face_restorer()
    return str(caught.value)


def test_photographs_of_ones_own() -> None:
    pixels = np.zeros((80, 96, 3), np.uint8)
    result = bright(upscale=1).restore(Photo(pixels))
    assert result.photo.pixels.max() > 20 and pixels.max() == 0
    write_photo(result.photo, "black.png")
    deep = Photo(np.zeros((8, 8, 3), np.uint16), alpha=np.full((8, 8), 65535, np.uint16))
    assert (deep.depth, deep.size, deep.format) == (16, (8, 8), "PNG")


@pytest.mark.parametrize(
    ("pixels", "alpha"),
    [
        (np.zeros((8, 8), np.uint8), None),
        (np.zeros((8, 8, 4), np.uint8), None),
        (np.zeros((0, 8, 3), np.uint8), None),
        (np.zeros((8, 8, 3), np.float32), None),
        (np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9), np.uint8)),
        (np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint16)),
    ],
)
def test_arrays_that_are_no_photograph(pixels: np.ndarray, alpha: np.ndarray | None) -> None:
    with pytest.raises(ValueError, match="A photograph's"):
        Photo(pixels, alpha)


def test_public_things_are_documented_and_typed() -> None:
    assert Path(restorer.__file__).with_name("py.typed").exists()
    for name in set(restorer.__all__) - {"__version__"}:
        thing = getattr(restorer, name)
        assert inspect.getdoc(thing), name
        for member, value in vars(thing).items():
            if not member.startswith("_") and inspect.isfunction(value):
                assert inspect.getdoc(value), f"{name}.{member}"
