"""`restorer train prepare`: faces cut out where they lie, bad ones left out, people kept apart, nothing half done."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from restorer.cli import train_prepare
from restorer.cli.group import group
from restorer.faces import Face
from restorer.facesets.photographs import find_photographs, held_out
from restorer.pipeline.align import TEMPLATE
from restorer.training.components import component_boxes
from restorer.training.dataset import load_faces
from tests.facesets.photographs import KnowingDetector, portrait

Run = Callable[..., Result]


@pytest.fixture
def detector() -> KnowingDetector:
    return KnowingDetector()


@pytest.fixture
def run(detector: KnowingDetector, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(train_prepare, "open_find", lambda *_: detector)

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(group, ["train", "prepare", *map(str, arguments)], prog_name="restorer")

    return invoke


def _rows(path: Path) -> list[dict[str, object]]:
    with zipfile.ZipFile(path) as archive:
        rows: list[dict[str, object]] = json.loads(archive.read("manifest.json"))
    return rows


def test_a_face_comes_out_as_it_lay_in_the_photograph(detector: KnowingDetector, run: Run, tmp_path: Path) -> None:
    """Turned by 25° and enlarged by half it is the portrait again, in 512 pixels and in 128."""
    detector.photograph(tmp_path / "in/a.png", 3, size=(1300, 1200), scale=1.5, degrees=25, at=(640, 610))
    for size in (512, 128):
        out = tmp_path / f"faces{size}.zip"
        result = run(tmp_path / "in", "-o", out, "--size", size)
        assert result.exit_code == 0 and f"{out}: 1 face of 1 person" in result.stderr and result.stdout == ""
        (face,) = load_faces(out, size)
        wanted = cv2.resize(portrait(3), (size, size), interpolation=cv2.INTER_AREA)
        middle = slice(size // 8, -size // 8)
        error = np.sqrt(np.mean((face.pixels[middle, middle].astype(float) - wanted[middle, middle]) ** 2))
        assert error < 6, error
        assert np.abs(face.points - ((TEMPLATE + 0.5) * size / 512 - 0.5)).max() < 0.05
    (row,) = _rows(tmp_path / "faces512.zip")
    assert row["size"] == pytest.approx(768, abs=1)  # 512 pixels of the crop, each one and a half of the photograph
    assert (row["cover"], row["misfit"], row["person"]) == (1.0, 0.0, "a.png")
    boxes = component_boxes(TEMPLATE, 512)
    assert [*row["boxes"].values()] == [pytest.approx(box, abs=0.1) for box in boxes.tolist()]  # type: ignore[attr-defined]


def test_a_profile_of_another_colour_space_is_turned_into_srgb(
    detector: KnowingDetector, run: Run, tmp_path: Path
) -> None:
    from PIL import ImageCms

    linear = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = detector.photograph(tmp_path / "in/a.png", 1)
    Image.open(path).save(path, icc_profile=linear)
    assert run(tmp_path / "in", "-o", tmp_path / "a.zip").exit_code == 0
    (face,) = load_faces(tmp_path / "a.zip")
    assert np.abs(face.pixels.astype(int) - portrait(1)).mean() < 2


def _turned(degrees: float) -> Callable[[Face], Face]:
    """The points of a head that looks aside: seen from its side, the nose sticks out."""
    depth = np.array([0.0, 0.0, 70.0, 20.0, 20.0])

    def change(face: Face) -> Face:
        angle, points = np.radians(degrees), face.landmarks.copy()
        middle = points[:, 0].mean()
        points[:, 0] = middle + (points[:, 0] - middle) * np.cos(angle) + depth * np.sin(angle)
        return replace(face, landmarks=points)

    return change


@pytest.mark.parametrize(
    ("where", "options", "reason"),
    [
        ({"scale": 0.45}, (), "1 too small"),
        ({"scale": 0.45}, ("--min-size", "200"), None),
        ({"at": (60.0, 350.0)}, (), "1 cut off by the photograph's edge"),
        ({"at": (60.0, 350.0)}, ("--min-cover", "0.5"), None),
        ({"change": lambda face: replace(face, score=0.8)}, (), "1 uncertain"),
        ({"change": lambda face: replace(face, score=0.8)}, ("--min-score", "0.7"), None),
        ({"change": _turned(25)}, (), None),
        ({"change": _turned(70)}, (), "1 turned away"),
        ({"change": lambda face: replace(face, landmarks=face.landmarks * 0 + 9)}, (), "1 with points unlike a face's"),
    ],
)
def test_bad_faces_are_left_out(
    detector: KnowingDetector, run: Run, tmp_path: Path, where: dict[str, object], options: tuple[str, ...], reason: str
) -> None:
    detector.photograph(tmp_path / "in/a.png", **where)
    result = run(tmp_path / "in", "-o", tmp_path / "a.zip", *options)
    if reason is None:
        assert result.exit_code == 0, result.stderr
    else:
        assert result.exit_code == 3 and reason in result.stderr and "will do for training" in result.stderr
        assert not (tmp_path / "a.zip").exists()


def test_blurred_faces_are_left_out(detector: KnowingDetector, run: Run, tmp_path: Path) -> None:
    for name, sigma in (("sharp", 0.0), ("soft", 4.0)):
        path = detector.photograph(tmp_path / "in" / f"{name}.png", 5)
        if sigma:
            Image.fromarray(cv2.GaussianBlur(np.array(Image.open(path)), (0, 0), sigma)).save(path)
    result = run(tmp_path / "in", "-o", tmp_path / "a.zip")
    assert result.exit_code == 0 and "left out: 1 not sharp" in result.stderr
    assert [row["file"] for row in _rows(tmp_path / "a.zip")] == ["sharp.png_00.png"]


def test_the_same_file_counts_once_and_a_broken_one_harms_no_other(
    detector: KnowingDetector, run: Run, tmp_path: Path
) -> None:
    path = detector.photograph(tmp_path / "in/a.png")
    (tmp_path / "in/copy.png").write_bytes(path.read_bytes())
    (tmp_path / "in/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    Image.new("RGB", (40, 30)).save(tmp_path / "in/empty.png")
    result = run(tmp_path / "in", "-o", tmp_path / "a.zip")
    assert result.exit_code == 7 and "broken.jpg" in result.stderr and detector.seen == 2
    for reason in ("1 the same file again", "1 without a face", "1 unreadable"):
        assert reason in result.stderr
    assert len(_rows(tmp_path / "a.zip")) == 1


def test_people_are_named_by_manifest_or_folder(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "anna/holidays").mkdir(parents=True)
    for name in ("anna/1.png", "anna/holidays/2.png", "3.png", "4.png"):
        Image.new("RGB", (8, 8)).save(folder / name)
    rows = [{"file": "3.png", "person": "Bert"}, {"file": "anna/holidays/2.png", "person": "Cleo"}, {"file": "4.png"}]
    (folder / "manifest.json").write_text(json.dumps(rows))
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in folder.rglob("*.*"):
            archive.write(path, path.relative_to(folder))
    for source in (folder, tmp_path / "in.zip"):
        people = {str(one.relative): one.person for one in find_photographs([source])}
        assert people == {"anna/1.png": "anna", "anna/holidays/2.png": "Cleo", "3.png": "Bert", "4.png": "4.png"}
        assert all(one.data() == (folder / one.relative).read_bytes() for one in find_photographs([source]))
    assert len(find_photographs([folder, folder / "anna"])) == 4  # none twice


def test_people_stay_on_one_side_of_the_split(detector: KnowingDetector, run: Run, tmp_path: Path) -> None:
    for number, person in enumerate((0, 0, 1, 2, 3)):
        detector.photograph(tmp_path / f"in/person{person}/{number}.png", number)
    result = run(tmp_path / "in", "-o", tmp_path / "faces.zip", "--validation", "0.4")
    assert result.exit_code == 0, result.stderr
    train, held = ({row["person"] for row in _rows(tmp_path / name)} for name in ("faces.zip", "faces-val.zip"))
    assert train and held and not train & held and len(train | held) == 4
    assert held == held_out([f"person{number}" for number in range(4)], 0.4)
    assert len(load_faces(tmp_path / "faces.zip")) + len(load_faces(tmp_path / "faces-val.zip")) == 5


def test_who_is_held_out_stays_so_as_the_collection_grows() -> None:
    people = [f"p{number}" for number in range(2000)]
    few, many = held_out(people[:1000], 0.1), held_out(people, 0.1)
    assert few == many & set(people[:1000])
    assert len(many) == pytest.approx(200, abs=45)  # three standard deviations
    assert held_out(people, 0.0) == frozenset() and held_out(["alone"], 0.5) in (frozenset(), frozenset({"alone"}))
    assert len(held_out(["a", "b", "c"], 1e-9)) == 1


def test_a_full_disk_leaves_nothing_and_the_old_set_as_it_was(
    detector: KnowingDetector, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector.photograph(tmp_path / "in/a.png")
    out = tmp_path / "faces.zip"
    assert run(tmp_path / "in", "-o", out).exit_code == 0
    before = out.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for target in ("writestr", "_write_end_record"):
        with monkeypatch.context() as patch:
            patch.setattr(zipfile.ZipFile, target, full)
            result = run(tmp_path / "in", "-o", out)
        assert result.exit_code == 4 and "No space left" in result.stderr, result.output
        assert out.read_bytes() == before and [path.name for path in tmp_path.iterdir()] != [], target
        assert sorted(path.name for path in tmp_path.iterdir()) == ["faces.zip", "in"]


def test_an_interrupt_leaves_nothing(
    detector: KnowingDetector, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        detector.photograph(tmp_path / f"in/{number}.png", number)
    found = detector.faces.copy()

    def stopped(pixels: np.ndarray) -> list[object]:
        if pixels.shape[1] == list(found)[2][0]:
            raise KeyboardInterrupt
        return list(found[(pixels.shape[1], pixels.shape[0])])

    monkeypatch.setattr(train_prepare, "open_find", lambda *_: stopped)
    result = run(tmp_path / "in", "-o", tmp_path / "faces.zip")
    assert result.exit_code == 130
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("none", "-o", "a.zip"), 3, "no such file or folder"),
        (("empty", "-o", "a.zip"), 3, "no photograph"),
        (
            ("faceless", "-o", "a.zip"),
            3,
            r"No face in faceless will do for training \(1 photograph: 1 without a face\)",
        ),
        (("cut.zip", "-o", "a.zip"), 3, "no whole zip archive"),
        (("zipped.zip", "-o", "a.zip"), 3, "1 unreadable"),
        (("named", "-o", "a.zip"), 3, "manifest.json of named cannot be read"),
        (("faceless", "-o", "faceless"), 2, "originals are never written to"),
        (("faceless", "-o", "a.zip", "--size", "7"), 2, "size of 32 to 2048"),
        (("faceless", "-o", "a.zip", "--validation", "1"), 2, "less than 1"),
        (("faceless", "-o", "a.zip", "--min-cover", "7"), 2, "0 to 1"),
    ],
)
def test_what_goes_wrong_ends_with_a_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "faceless", "named"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (40, 30)).save("faceless/a.png")
    Image.new("RGB", (40, 30)).save("named/a.png")
    Path("named/manifest.json").write_text('{"file": 3}')
    with zipfile.ZipFile("whole.zip", "w") as archive:
        archive.write("faceless/a.png")
    whole = Path("whole.zip").read_bytes()
    Path("cut.zip").write_bytes(whole[:-30])
    Path("zipped.zip").write_bytes(whole[:70] + b"\0\0\0\0" + whole[74:])
    result = run(*arguments)
    assert result.exit_code == code and re.search(word, result.stderr), result.output
    assert not Path("a.zip").exists() and not list(tmp_path.glob(".*"))


def test_faces_that_all_are_held_out_are_told_of(detector: KnowingDetector, run: Run, tmp_path: Path) -> None:
    detector.photograph(tmp_path / "in/a.png")
    result = run(tmp_path / "in", "-o", tmp_path / "faces.zip", "--validation", "0.9999")
    assert result.exit_code == 3 and "held out for validation" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
