"""What the command promises about names, formats, defaults and honesty, as a user sees it; pipes and codes are tested
in test_process, models and downloads in test_models, bad input in test_bad_input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

from restorer.cli.restore import restore_command
from restorer.options import BackgroundName, Disclosure, FaceChoice
from restorer.photo import DIGITAL_SOURCE, read_photo
from restorer.pipeline import stream as streaming
from restorer.pipeline.upsample import enlarge
from restorer.weights.http import CONNECT_SECONDS
from tests.cli.conftest import Run, picture
from tests.fakes import FakeNetworks, many_faces, no_face

DEFAULTS: dict[str, object] = {
    "output": "restored",
    "upscale": 2.0,
    "bg_upsampler": "none",
    "model": "auto",
    "strength": 1.0,
    "faces": "all",
    "min_face": 24.0,
    "max_face": None,
    "aligned": False,
    "compare": None,
    "save_faces": False,
    "device": "auto",
    "precision": "auto",
    "batch": None,
    "tile": None,
    "format": "auto",
    "quality": None,
    "recursive": False,
    "as_json": False,
    "dry_run": False,
    "overview": None,
    "disclose": "metadata",
    "offline": False,
    "weights_dir": None,
    "files_from": None,
    "null": False,
    "skip_existing": False,
    "quiet": False,
    "verbose": False,
}


def test_defaults() -> None:
    context = restore_command.make_context("restore", ["photo.jpg"])
    assert {name: context.params[name] for name in DEFAULTS} == DEFAULTS
    assert 0 < context.params["det_threshold"] < 1
    short = {option for param in restore_command.params for option in param.opts if len(option) == 2}
    assert {"-o", "-r", "-0", "-q", "-v"} <= short


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        (BackgroundName, ("none", "realesrgan", "realesrgan-x4", "realesr-general")),
        (FaceChoice, ("all", "largest", "center")),
        (Disclosure, ("none", "metadata", "caption")),
    ],
)
def test_choices(option: Any, choices: tuple[str, ...]) -> None:
    assert option.__args__ == choices
    offered = [param.type.choices for param in restore_command.params if isinstance(param.type, click.Choice)]
    assert choices in [tuple(these) for these in offered]


def test_a_connection_is_given_five_seconds() -> None:
    assert CONNECT_SECONDS == 5


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "webp", "tif", "tiff", "bmp", "ppm", "jp2", "avif"])
def test_result_has_the_inputs_own_format_and_name(run: Run, photo: Path, suffix: str) -> None:
    image = Image.open(photo)
    try:
        image.save(f"x.{suffix}")
    except (KeyError, OSError):
        pytest.skip(f"Pillow cannot write {suffix} here")
    with Image.open(f"x.{suffix}") as before:
        kind = before.format
    assert run(f"x.{suffix}").exit_code == 0
    with Image.open(f"restored/x.{suffix}") as after:
        assert (after.format, after.size) == (kind, (192, 160))
    comparison = f"restored/comparisons/x.{suffix}" + ("" if suffix in ("jpg", "jpeg") else ".jpg")
    with Image.open(comparison) as drawn:
        assert drawn.format == "JPEG"


@pytest.mark.parametrize(
    ("name", "mode"), [("a.gif", "P"), ("b.png", "P"), ("c.png", "1"), ("d.bmp", "P"), ("e.tif", "1")]
)
def test_formats_that_cannot_hold_the_result_become_png_with_a_word(
    run: Run, photo: Path, name: str, mode: str
) -> None:
    Image.open(photo).convert(mode).save(name)
    result = run(name)
    target = Path("restored", name).with_suffix(".png")
    assert result.exit_code == 0
    with Image.open(target) as after:
        assert (after.format, after.mode) in (("PNG", "RGB"), ("PNG", "L"))
    if not name.endswith(".png"):
        assert "it is written as PNG" in result.stderr


def test_the_photograph_is_written_last(run: Run, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    real = streaming.write_photo

    def write(result: Any, target: Any, **keywords: Any) -> str:
        written.append(Path(target).relative_to("restored").as_posix())
        return real(result, target, **keywords)

    monkeypatch.setattr(streaming, "write_photo", write)
    assert run(photo, "--save-faces").exit_code == 0
    assert written == ["faces/photo.jpg_00.png", "comparisons/photo.jpg", "photo.jpg"]


def test_names_are_known_and_refused_before_any_work(run: Run, networks: FakeNetworks, photo: Path) -> None:
    picture("sub/photo.jpg")
    for arguments in (["photo.jpg", "sub/photo.jpg"], ["photo.jpg", "-o", "."], ["photo.jpg", "-o", "photo.jpg"]):
        assert run(*arguments).exit_code == 2
    assert networks.opened == [] and sorted(path.name for path in Path().iterdir()) == ["photo.jpg", "sub"]


def test_file_or_folder_by_the_name_of_the_output(run: Run, photo: Path) -> None:
    assert run(photo, "-o", "one.png", "--compare").exit_code == 0
    assert Path("one.png").is_file() and Path("one.compare.jpg").is_file()
    Path("folder.png").mkdir()
    assert run(photo, "-o", "folder.png").exit_code == 0
    assert Path("folder.png/photo.jpg").is_file() and Path("folder.png/comparisons/photo.jpg").is_file()
    assert run(photo, "-o", "no suffix").exit_code == 0 and Path("no suffix/photo.jpg").is_file()


def test_existing_output_is_replaced_or_left(run: Run, photo: Path) -> None:
    assert run(photo).exit_code == 0
    first = Path("restored/photo.jpg").read_bytes()
    Path("restored/photo.jpg").write_bytes(b"old")
    assert "skipped" in run(photo, "--skip-existing").stderr and Path("restored/photo.jpg").read_bytes() == b"old"
    assert run(photo).exit_code == 0 and Path("restored/photo.jpg").read_bytes() == first


def test_faces_are_saved_beside_their_crops(run: Run, networks: FakeNetworks, photo: Path) -> None:
    networks._find = many_faces(4)
    assert run(photo, "--save-faces", "--min-face", "10").exit_code == 0
    saved = sorted(path.name for path in Path("restored/faces").iterdir())
    assert saved == [f"photo.jpg_{number:02d}.png" for number in range(4)]
    with Image.open("restored/faces/photo.jpg_00.png") as pair:
        assert pair.width > 2 * pair.height * 0.9  # crop | restored


def test_original_is_never_written_to(run: Run, photo: Path) -> None:
    before = photo.read_bytes(), photo.stat().st_mtime_ns
    assert run(photo, "-o", ".").exit_code == 2 and run(photo, "-o", "x.jpg").exit_code == 0
    assert (photo.read_bytes(), photo.stat().st_mtime_ns) == before


def test_strength_zero_leaves_every_pixel_as_it_was(run: Run, photo: Path) -> None:
    assert run(photo, "--strength", "0", "-o", "same.png").exit_code == 0
    np.testing.assert_array_equal(read_photo(Path("same.png")).pixels, enlarge(read_photo(photo).pixels, 2))
    assert run(photo, "--strength", "0", "--upscale", "1", "-o", "same1.png").exit_code == 0
    np.testing.assert_array_equal(read_photo(Path("same1.png")).pixels, read_photo(photo).pixels)


@pytest.mark.parametrize(
    ("options", "disclosed"), [([], True), (["--disclose", "none"], False), (["--strength", "0"], False)]
)
def test_generated_pixels_are_disclosed_in_the_file(run: Run, photo: Path, options: list[str], disclosed: bool) -> None:
    assert run(photo, *options).exit_code == 0
    content = Path("restored/photo.jpg").read_bytes()
    assert (DIGITAL_SOURCE.encode() in content) == disclosed
    assert DIGITAL_SOURCE == "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"


def test_only_enlarged_photograph_discloses_nothing(run: Run, networks: FakeNetworks, photo: Path) -> None:
    networks._find = no_face
    assert run(photo).exit_code == 0
    assert DIGITAL_SOURCE.encode() not in Path("restored/photo.jpg").read_bytes()


@pytest.mark.parametrize("tint", [(1.0, 1.0, 1.0), (1.0, 0.86, 0.7)])
def test_black_and_white_and_sepia_keep_their_tone(
    run: Run, networks: FakeNetworks, photo: Path, tint: tuple[float, float, float]
) -> None:
    grey = np.asarray(Image.open(photo).convert("L"), np.float32)
    toned = np.rint(np.clip(grey, 0, 230)[..., None] * np.array(tint)).astype(np.uint8)
    Image.fromarray(toned).save("old.png")
    tinge = np.array([0.4, 0.0, -0.4], np.float32)[:, None, None]
    networks.engine.change = lambda batch: np.clip(batch + tinge, -1, 1)  # a network that reddens
    assert run("old.png", "--min-face", "1").exit_code == 0
    result = read_photo(Path("restored/old.png")).pixels.astype(np.float32)
    centre = result[60:100, 80:112].reshape(-1, 3)
    bright = centre[centre[:, 0] > 60]
    assert len(bright) > 100
    for channel in (1, 2):
        assert abs(float((bright[:, channel] / bright[:, 0]).mean()) - tint[channel] / tint[0]) < 0.06


def test_patterns_that_no_shell_has_expanded(run: Run, photo: Path) -> None:
    picture("album/a.png")
    picture("album/b.png")
    picture("album/c.jpg")
    assert run("album/*.png", "-o", "out").exit_code == 0
    assert sorted(path.name for path in Path("out").glob("*.*")) == ["a.png", "b.png"]
    missing = run("album/*.tif", "-o", "out")
    assert missing.exit_code == 3 and "no file matches it" in missing.stderr


def test_reports_say_where_the_time_went(run: Run, photo: Path) -> None:
    report = json.loads(run(photo, "--json").stdout)
    assert {"read", "open", "detect", "align", "restore", "upsample", "paste", "compare", "write"} <= set(
        report["seconds"]
    )
    assert all(seconds >= 0 for seconds in report["seconds"].values())


def test_summary_accounts_for_every_photograph(run: Run, networks: FakeNetworks, photo: Path) -> None:
    picture("flat.png", 40, 40)  # too small for the detector's stand-in to find a face
    picture("there.png")
    Path("restored").mkdir()
    Path("restored/there.png").write_bytes(b"mine")
    Path("text.jpg").write_text("text")
    result = run(photo, "flat.png", "there.png", "text.jpg", "--skip-existing")
    summary = result.stderr.splitlines()[-1]
    assert summary.startswith("1 restored, 1 unchanged, 1 skipped, 1 failed (1 face) in ") and "%" in summary
    assert result.exit_code == 7
