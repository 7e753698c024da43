"""Several methods on the same pictures; broken ones; batches; FID's reference; the report's files."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from restorer.errors import PhotoError, UsageError, WeightsError
from restorer.evaluation import gallery, report
from restorer.evaluation.fid import Gaussian
from restorer.evaluation.inputs import InputMaker
from restorer.evaluation.methods import Method, folder_method, input_method
from restorer.evaluation.metrics import METRICS, Metrics, open_metrics
from restorer.evaluation.pictures import open_pictures
from restorer.evaluation.psnr import open_psnr
from restorer.evaluation.runner import Failure, Result, Runner, reference_of
from restorer.evaluation.table import as_text, comparison_rows, rows_of, summary_text
from restorer.weights import WeightStore
from tests.evaluation.conftest import MakeTools

STEMS = ["a", "b", "c", "d"]


def picture(stem: str, offset: int = 0) -> NDArray[Any]:
    rng = np.random.default_rng(ord(stem[0]))
    return (rng.integers(20, 200, (40, 40, 3)) + offset).astype(np.uint8)


def shifted(name: str, offset: int, broken: str = "") -> Method:
    """A method that is wrong by the same number of levels everywhere."""

    def read(stem: str) -> NDArray[Any]:
        if stem in broken:
            raise PhotoError(f"Cannot read {name}/{stem}.png: it is damaged.")
        return picture(stem, offset)

    return folder_method(name, name, read)


@pytest.fixture
def metrics(tools: MakeTools) -> Metrics:
    return Metrics({"psnr": open_psnr(tools())}, None, {"lpips": "no weights"})


def runner(metrics: Metrics, *methods: Method, batch: int = 1) -> Runner:
    return Runner(InputMaker(picture, lambda stem: picture(stem, 10)), methods, metrics, batch)


def test_methods_are_judged_on_all_pictures(metrics: Metrics) -> None:
    result = runner(metrics, input_method(), shifted("five", 5), shifted("same", 0)).run(STEMS)
    assert result.stems == STEMS and result.failures == [] and result.skipped == {"lpips": "no weights"}
    expected = {"input": 20 * math.log10(25.5), "five": 20 * math.log10(51), "same": math.inf}
    for row in result.rows:
        assert row.values["psnr"] == pytest.approx([expected[row.method]] * 4)
    assert result.row("five").summary(METRICS["psnr"]).mean == pytest.approx(expected["five"])


@pytest.mark.parametrize("batch", [2, 3, 10])
def test_results_do_not_depend_on_the_batch(metrics: Metrics, batch: int) -> None:
    methods = [input_method(), shifted("x", 7, broken="b")]
    steps: list[tuple[int, int]] = []
    one = runner(metrics, *methods).run(STEMS, against="input")
    several = replace(runner(metrics, *methods, batch=batch), advance=lambda *done: steps.append(done))
    assert several.run(STEMS, against="input") == one
    assert steps[-1] == (4, 4)


def test_a_broken_picture_is_left_out_for_all(metrics: Metrics) -> None:
    """A mean over other pictures than the neighbour's would be no comparison."""
    result = runner(metrics, shifted("whole", 5), shifted("torn", 5, broken="bd"), batch=3).run(STEMS)
    assert result.stems == ["a", "c"] and all(len(row.values["psnr"]) == 2 for row in result.rows)
    assert result.failures == [
        Failure("b", "Cannot read torn/b.png: it is damaged."),
        Failure("d", "Cannot read torn/d.png: it is damaged."),
    ]
    with pytest.raises(PhotoError, match=r"No picture could be judged: Cannot read torn/a"):
        runner(metrics, shifted("torn", 5, broken="abcd")).run(STEMS)


def test_a_broken_truth_is_reported(metrics: Metrics) -> None:
    def truth(stem: str) -> NDArray[Any]:
        if stem == "c":
            raise PhotoError("Cannot read truth/c.png: it is empty.")
        return picture(stem)

    result = Runner(InputMaker(truth, None), [shifted("x", 5)], metrics, 2).run(STEMS)
    assert result.stems == ["a", "b", "d"] and [failure.stem for failure in result.failures] == ["c"]


def test_another_size_is_refused_with_its_name(metrics: Metrics) -> None:
    small = folder_method("small", "small", lambda stem: picture(stem)[:30])
    with pytest.raises(UsageError, match="a of small is 40×30 where its truth is 40×40"):
        runner(metrics, small).run(STEMS)


def test_faults_of_networks_end_the_run(metrics: Metrics) -> None:
    def missing(cases: object) -> list[NDArray[Any]]:
        raise WeightsError("There is no model.")

    with pytest.raises(WeightsError, match="no model"):
        runner(metrics, Method("model", missing, dict)).run(STEMS)


def test_pictures_too_small_for_a_metric_get_no_value(tools: MakeTools) -> None:
    pytest.importorskip("skimage")
    metrics = open_metrics(tools(), ["psnr", "ssim"], truth=True, reference=False)

    def tiny(stem: str) -> NDArray[Any]:
        return picture(stem)[:9, :9] if stem == "b" else picture(stem)

    result = Runner(InputMaker(tiny, None), [folder_method("x", "x", tiny)], metrics).run(STEMS)
    values = result.rows[0].values
    assert values["ssim"][1] is None and None not in values["psnr"]
    assert result.rows[0].summary(METRICS["ssim"]).count == 3
    assert "(3)" in rows_of(result)[1][2]


def test_comparison_is_against_the_named_method(metrics: Metrics) -> None:
    result = runner(metrics, shifted("good", 2), shifted("bad", 9), input_method()).run(STEMS, against="bad")
    assert [(item.method, item.against, item.won, item.lost) for item in result.comparisons] == [
        ("good", "bad", 4, 0),
        ("input", "bad", 0, 4),
    ]
    assert comparison_rows(result)[1][-1] == "100%" and comparison_rows(result)[2][-1] == "0%"


def test_without_truth_only_what_needs_none_is_measured(tools: MakeTools) -> None:
    with pytest.raises(UsageError, match="PSNR cannot be measured: it needs --truth"):
        open_metrics(tools(), ["psnr"], truth=False, reference=False)
    found = open_metrics(tools(), None, truth=False, reference=False)
    assert found.judges == {} and found.features is None
    assert set(found.skipped) == set(METRICS) and found.skipped["fid"] == "it needs --reference"


def test_named_metrics_are_never_skipped(tools: MakeTools) -> None:
    pytest.importorskip("lpips")
    with pytest.raises(WeightsError, match="LPIPS cannot be measured: vgg16 is not on disk"):
        open_metrics(tools(vgg16=Path("absent.pth")), ["lpips"], truth=True, reference=False)
    with pytest.raises(UsageError, match="sharpness is no metric"):
        open_metrics(tools(), ["psnr", "sharpness"], truth=True, reference=False)


def test_a_missing_library_is_named(tools: MakeTools, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "piq", None)
    bundled = replace(tools(), store=WeightStore(offline=True))
    found = open_metrics(bundled, ["psnr"], truth=True, reference=False)
    assert list(found.judges) == ["psnr"] and found.skipped == {}
    with pytest.raises(UsageError, match="FSIM cannot be measured: piq is not installed"):
        open_metrics(bundled, ["fsim"], truth=True, reference=False)
    found = open_metrics(bundled, None, truth=True, reference=False)
    assert found.skipped["fsim"] == 'piq is not installed: pip install "restorer[evaluate]"'
    assert "psnr" in found.judges


def features(pictures: Any) -> NDArray[Any]:
    return np.array([[p.mean(), p.std(), p[..., 0].mean()] for p in pictures], np.float64)


def test_fid_against_a_set_and_its_broken_pictures(metrics: Metrics, tmp_path: Path) -> None:
    for stem in STEMS:
        Image.fromarray(picture(stem)).save(tmp_path / f"{stem}.png")
    (tmp_path / "e.png").write_bytes(b"\x89PNG")
    measured = replace(metrics, features=features)
    reference, count, failures = reference_of(open_pictures(tmp_path), measured, 3)
    assert count == 4 and [failure.stem for failure in failures] == ["e"]
    run = runner(measured, shifted("same", 0), shifted("five", 5), batch=3)
    result = run.run(STEMS, reference=reference)
    assert result.row("same").fid == pytest.approx(0, abs=1e-9)
    # Every mean is five levels higher, no deviation differs.
    assert result.row("five").fid == pytest.approx(2 * 25, abs=1e-9)
    assert [metric.name for metric in result.metrics] == ["psnr", "fid"]
    assert rows_of(result)[2][-1] == "50.00"


# The report


@pytest.fixture
def judged(metrics: Metrics) -> tuple[Runner, Result]:
    run = runner(metrics, input_method(), shifted("<best>", 2), shifted("same", 0))
    result = run.run(STEMS, against="input")
    return run, replace(result, failures=[Failure("z", "it is <empty>")])


def write(folder: Path, judged: tuple[Runner, Result], **keywords: Any) -> list[str]:
    notes: list[str] = []
    report.write_report(
        folder, judged[1], judged[0], command="restorer evaluate", settings={"seed": 0}, notify=notes.append, **keywords
    )
    return notes


def test_json(tmp_path: Path, judged: tuple[Runner, Result]) -> None:
    pytest.importorskip("matplotlib")
    assert write(tmp_path / "deep" / "report", judged) == []
    found = json.loads((tmp_path / "deep" / "report" / "report.json").read_text())
    assert (found["schema"], found["pictures"]) == (report.SCHEMA, 4)
    assert found["failed"] == [{"picture": "z", "reason": "it is <empty>"}]
    assert found["skipped"] == [{"metric": "lpips", "reason": "no weights"}]
    best, same = found["methods"][1:]
    assert best["about"] == {"kind": "pictures", "path": "<best>"}
    assert best["summary"]["psnr"]["mean"] == pytest.approx(20 * math.log10(127.5))
    assert same["summary"]["psnr"] == {"mean": "inf", "low": None, "high": None, "count": 4}
    assert set(same["scores"]) == set(STEMS) and same["scores"]["a"] == {"psnr": "inf"}
    assert [item["share_won"] for item in found["comparisons"]] == [1.0, 1.0]
    assert all(metric["recipe"] and metric["source"] for metric in found["metrics"])


def test_csv(tmp_path: Path, judged: tuple[Runner, Result]) -> None:
    scores = list(csv.DictReader(report.scores_csv(judged[1]).splitlines()))
    assert len(scores) == 12 and scores[4]["method"] == "<best>" and scores[4]["picture"] == "a"
    assert float(scores[4]["psnr"]) == pytest.approx(20 * math.log10(127.5)) and scores[8]["psnr"] == "inf"
    summary = list(csv.DictReader(report.summary_csv(judged[1]).splitlines()))
    assert (summary[0]["method"], summary[0]["metric"], summary[0]["count"]) == ("input", "psnr", "4")


class Page(HTMLParser):
    """Collects a page's tags and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "img":
            self.images.append(dict(attrs)["src"] or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_and_plot(tmp_path: Path, judged: tuple[Runner, Result]) -> None:
    pytest.importorskip("matplotlib")
    write(tmp_path, judged, reference=Gaussian(np.zeros(2), np.eye(2)))
    page = Page((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert page.open == [] and "<best>" in page.text and "it is <empty>" in page.text
    assert METRICS["psnr"].recipe in page.text and "lpips was skipped: no weights" in page.text
    assert page.images[0] == "distributions.png" and len(page.images) == 1 + 3 * 4
    for address in page.images:
        with Image.open(tmp_path / address) as image:
            image.load()
    with Image.open(tmp_path / page.images[5]) as strip:
        assert strip.size == (3 * 40, 40)  # input, restored, truth
    assert (tmp_path / "reference.npz").is_file()


def test_the_gallery_ranks_by_the_eyes_metric(metrics: Metrics) -> None:
    offsets = dict(zip(STEMS, (8, 2, 6, 4), strict=True))
    method = folder_method("x", "x", lambda stem: picture(stem, offsets[stem]))
    run = runner(metrics, method)
    shown = list(gallery.gallery(run.run(STEMS), run))
    assert [(item.best, item.place, item.stem) for item in shown] == [
        (True, 1, "b"),
        (True, 2, "d"),
        (False, 1, "a"),
        (False, 2, "c"),
    ]
    assert shown[0].parts == ("input", "x", "truth") and shown[0].figures["psnr"] == pytest.approx(42.11, abs=0.01)


def test_without_matplotlib_there_is_a_word_and_no_plot(
    tmp_path: Path, judged: tuple[Runner, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    (note,) = write(tmp_path, judged)
    assert "matplotlib is not installed" in note
    assert not (tmp_path / "distributions.png").exists() and (tmp_path / "index.html").is_file()


def test_text_lines_up(judged: tuple[Runner, Result]) -> None:
    lines = as_text([["a", "b"], ["long", "1.0"]]).splitlines()
    assert lines == ["a       b", "long  1.0"]
    text = summary_text(judged[1])
    assert "4 pictures" in text and "42.11 ±0.00" in text and "∞" in text and "share won" in text
