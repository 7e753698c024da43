"""No test falls silent: what skips is compared with the committed list. The last test of every run."""

from __future__ import annotations

import pytest

from tests.conftest import SKIPS, cuda_usable
from tests.skips import LIST, Skips, differences, plain, read_list

EXPECTED = {"gpu": {"a.py::on_gpu"}, "machine": {"b.py::with_exiftool"}}


def a_run(**reasons: str) -> Skips:
    marks = {
        "a.py::on_gpu": frozenset({"gpu"}),
        "b.py::with_exiftool": frozenset[str](),
        "c.py::plain": frozenset({"parametrize"}),
        "d.py::long": frozenset({"slow"}),
    }
    names = {"gpu": "a.py::on_gpu", "exiftool": "b.py::with_exiftool", "plain": "c.py::plain", "slow": "d.py::long"}
    return Skips(marks, {names[name]: reason for name, reason in reasons.items()})


def found(skips: Skips, gpu: bool = False, everything: bool = True) -> list[str]:
    return differences(skips, EXPECTED, gpu=gpu, everything=everything)


def test_what_may_skip() -> None:
    assert found(a_run(gpu="needs a CUDA GPU")) == []
    assert found(a_run(gpu="needs a CUDA GPU", exiftool="not installed", slow="--runslow")) == []
    assert found(a_run(), gpu=True) == []


def test_what_may_not_skip() -> None:
    said = found(a_run(gpu="needs a CUDA GPU", plain="could not import piq"))
    assert said == ["skipped and not in the list: c.py::plain (could not import piq)"]
    assert found(a_run()) == ["ran without a GPU: a.py::on_gpu"]
    assert found(a_run(gpu="broken"), gpu=True) == ["skipped with a GPU: a.py::on_gpu"]


def test_a_whole_file_that_skips_is_seen() -> None:
    run = a_run(gpu="needs a CUDA GPU")
    run.reasons["e.py"] = "could not import torch"
    assert found(run) == ["skipped and not in the list: e.py (could not import torch)"]


def test_the_list_holds_what_there_is() -> None:
    run = a_run(gpu="needs a CUDA GPU")
    run.marks["f.py::new"] = frozenset({"gpu"})
    del run.marks["b.py::with_exiftool"]
    assert found(run) == [
        "marked gpu and not in the list's section: f.py::new",
        "in the list, but no test: b.py::with_exiftool",
    ]
    assert len(found(run, everything=False)) == 1


def test_names_and_sections() -> None:
    assert plain("a.py::test_x[b::c[0]]") == "a.py::test_x"
    assert read_list("# words\n[gpu] some\na.py::x\n\n[machine]\n# why\nb.py::y\n") == {
        "gpu": {"a.py::x"},
        "machine": {"b.py::y"},
    }


def test_this_runs_skips_are_the_expected_ones(request: pytest.FixtureRequest) -> None:
    """Look at every test before this one: it is moved to the end of the run."""
    config = request.config
    everything = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not (
        config.option.keyword or config.option.markexpr or config.option.lf or config.option.deselect
    )
    expected = read_list(LIST.read_text(encoding="utf-8"))
    said = differences(config.stash[SKIPS], expected, gpu=cuda_usable(), everything=bool(everything))
    assert not said, f"{LIST.name} and this run differ:\n" + "\n".join(said)
