"""Many photographs: order, accounts, bounded memory, one bad file among good ones, interrupts."""

from __future__ import annotations

import errno
import gc
import hashlib
import os
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from restorer.api import Restorer
from restorer.errors import OutOfMemoryError, OutputError, WeightsError
from restorer.inputs import find_inputs
from restorer.options import RestoreOptions
from restorer.outputs import Job, OutputOptions, plan
from restorer.photo import Photo
from restorer.pipeline import stream as streaming
from restorer.pipeline.stream import Stream
from restorer.report import PhotoReport, Status, Summary
from tests.fakes import (
    Change,
    FakeEngine,
    FakeNetworks,
    NoWeights,
    brighter,
    disk_full,
    failing_on,
    many_faces,
    no_face,
)

OPTIONS = RestoreOptions(upscale=1)


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of eight small photographs of different sizes."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "album"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(8):
        pixels = rng.integers(0, 255, (70 + 8 * number, 90, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def jobs(folder: Path, **options: Any) -> list[Job]:
    return plan(find_inputs([folder], recursive=True), OutputOptions(**options))


def run(work: list[Job], networks: FakeNetworks | None = None, **settings: Any) -> list[PhotoReport]:
    networks = networks or FakeNetworks(engine=FakeEngine(brighter))
    return list(Stream(networks, settings.pop("options", OPTIONS), **settings).run(work))


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_reports_come_in_order_and_files_lie_where_they_say(album: Path) -> None:
    reports = run(jobs(album, save_faces=True))
    assert [Path(report.input).name for report in reports] == [f"{number}.png" for number in range(8)]
    assert all(report.status is Status.RESTORED for report in reports)
    for report in reports:
        assert report.output and Path(report.output).is_file()
        assert report.comparison and Path(report.comparison).is_file()
    assert len(digests(Path("restored"))) == 3 * 8
    assert set(reports[0].seconds) >= {"read", "detect", "restore", "paste", "write", "compare"}


def test_same_bytes_whatever_workers_order_and_batch(album: Path) -> None:
    seen = []
    for number, (readers, writers, megapixels) in enumerate([(1, 1, 160.0), (4, 4, 160.0), (2, 2, 0.0001)]):
        work = jobs(album, output=f"out{number}")
        if number == 1:
            work.reverse()
        run(
            work,
            FakeNetworks(many_faces(3), FakeEngine(brighter)),
            readers=readers,
            writers=writers,
            megapixels=megapixels,
        )
        seen.append(digests(Path(f"out{number}")))
    assert seen[0] == seen[1] == seen[2] and len(seen[0]) == 16


def test_faces_of_several_photographs_share_a_batch(album: Path) -> None:
    engine = FakeEngine(brighter, device="cuda")
    reports = run(jobs(album), FakeNetworks(many_faces(3), engine, batch=6))
    assert sum(engine.batches) == 24 and max(engine.batches) > 3
    assert all(report.restored_faces == 3 for report in reports)


def test_one_bad_file_leaves_its_neighbours_alone(album: Path) -> None:
    run(jobs(album, output="good"))
    expected = digests(Path("good"))
    (album / "3.png").write_bytes((album / "3.png").read_bytes()[:500])
    (album / "5.png").write_bytes(b"")
    reports = run(jobs(album, output="bad"))
    assert [report.status is Status.FAILED for report in reports] == [number in (3, 5) for number in range(8)]
    assert "empty" in str(reports[5].reason) and "3.png" in str(reports[3].reason)
    for name, digest in digests(Path("bad")).items():
        assert expected[name] == digest
    assert len(digests(Path("bad"))) == 12
    assert Summary.of(reports).exit_code == 7


@pytest.mark.parametrize(("device", "batch"), [("cpu", 1), ("cuda", 16)])
def test_network_that_fails_for_one_photograph(album: Path, device: str, batch: int) -> None:
    def change(crops: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if any(np.array_equal(crop, bad[0]) for crop in crops):
            raise RuntimeError("no luck")
        return brighter(crops)

    bad: list[Any] = []
    probe = FakeEngine(lambda batch: bad.append(batch[0].copy()) or batch)  # type: ignore[func-returns-value]
    run(jobs(album, output="probe")[2:3], FakeNetworks(engine=probe))
    reports = run(jobs(album), FakeNetworks(engine=FakeEngine(change, device=device), batch=batch))
    assert [report.status for report in reports].count(Status.RESTORED) == 7
    assert reports[2].status is Status.FAILED and reports[2].exit_code == 1
    assert reports[2].reason == "a fault of this program (RuntimeError: no luck)"
    assert not Path("restored/2.png").exists() and not Path("restored/comparisons/2.png.jpg").exists()


def test_network_that_fails_on_the_nth_call(album: Path) -> None:
    reports = run(jobs(album), FakeNetworks(engine=FakeEngine(failing_on(4, OutOfMemoryError("full")))))
    assert [report.status is Status.FAILED for report in reports] == [number == 3 for number in range(8)]
    assert Summary.of(reports).exit_code == 7
    assert Summary.of(reports[3:4]).exit_code == 6


def test_existing_results_are_left_and_read_no_input(album: Path) -> None:
    Path("restored").mkdir()
    Path("restored/2.png").write_bytes(b"mine")
    (album / "2.png").write_bytes(b"broken, but nobody looks" * 9)
    work = [job for job in jobs(album, skip_existing=True) if job.output or job.input.error]
    (album / "3.png").unlink()
    Path("restored/3.png").write_bytes(b"mine, too")
    reports = run(work)
    assert reports[3].status is Status.SKIPPED and reports[3].reason == "the output exists already"
    assert Path("restored/3.png").read_bytes() == b"mine, too"
    assert reports[4].status is Status.RESTORED


def test_existing_results_are_replaced(album: Path) -> None:
    Path("restored").mkdir()
    Path("restored/2.png").write_bytes(b"old")
    run(jobs(album))
    assert Path("restored/2.png").read_bytes()[:4] == b"\x89PNG"


def test_dry_run_writes_nothing_and_opens_no_face_network(album: Path) -> None:
    networks = FakeNetworks()
    stream = Stream(networks, OPTIONS)
    reports = list(stream.run([Job(item) for item in find_inputs([album])], dry_run=True))
    assert {report.status for report in reports} == {Status.SKIPPED}
    assert all(len(report.faces) == 1 and not report.faces[0].restored for report in reports)
    assert not Path("restored").exists() and "face" not in networks.opened


def test_unreadable_inputs_open_no_network(album: Path) -> None:
    for path in album.iterdir():
        path.write_text("text")
    networks = FakeNetworks()
    reports = run(jobs(album), networks)
    assert networks.opened == [] and Summary.of(reports).exit_code == 3


def test_full_disk_ends_the_run_and_leaves_nothing_half_written(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, written = os.open, []

    def filling_up(path: Any, *args: Any, **keywords: Any) -> int:
        if str(path).endswith(".part"):
            written.append(path)
            if len(written) > 4:
                return disk_full()
        return real(path, *args, **keywords)

    work = jobs(album)
    monkeypatch.setattr(os, "open", filling_up)
    reports: list[PhotoReport] = []
    with pytest.raises(OutputError, match="disk is full"):
        reports.extend(_collect(Stream(FakeNetworks(), OPTIONS, writers=1).run(work), reports))
    assert len(reports) == 8
    assert [report.status for report in reports[:2]] == [Status.RESTORED] * 2
    assert all(report.status is Status.FAILED for report in reports[2:])
    assert "not attempted" in str(reports[-1].reason)
    assert not list(Path("restored").rglob("*.part"))


def _collect(run: Any, into: list[PhotoReport]) -> list[PhotoReport]:
    for report in run:
        into.append(report)
    return []


def test_missing_weights_end_the_run_with_every_photograph_accounted(album: Path) -> None:
    reports: list[PhotoReport] = []
    with pytest.raises(WeightsError, match="no face model"):
        _collect(Stream(NoWeights(), OPTIONS).run(jobs(album)), reports)
    assert len(reports) == 8 and {report.status for report in reports} == {Status.FAILED}


def test_unwritable_place_of_one_photograph(album: Path) -> None:
    work = jobs(album)
    Path("restored/comparisons/3.png.jpg").mkdir(parents=True)
    reports = run(work)
    assert [report.status is Status.FAILED for report in reports] == [number == 3 for number in range(8)]
    assert reports[3].exit_code == 4


def test_memory_is_bounded_with_slow_writers(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive, most, lock = 0, 0, threading.Lock()
    real_read, real_write = streaming.read_photo, streaming.write_photo

    def read(*args: Any, **keywords: Any) -> Photo:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        return real_read(*args, **keywords)

    def write(*args: Any, **keywords: Any) -> str:
        nonlocal alive
        time.sleep(0.02)
        name = real_write(*args, **keywords)
        with lock:
            alive -= 1
        return name

    monkeypatch.setattr(streaming, "read_photo", read)
    monkeypatch.setattr(streaming, "write_photo", write)
    several = jobs(album, compare=False) * 4
    run(several, FakeNetworks(no_face))
    # two readers and one ahead, one computing, two writing and one waiting, one just let in
    assert most <= 8
    alive = most = 0
    run(several, FakeNetworks(no_face), megapixels=0.03)
    assert most <= 3, "each photograph has some 0.01 megapixels, its result as many: one or two fit"


def test_reports_of_failures_hold_no_pixels(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[Photo]] = []
    real_read, real_write = streaming.read_photo, streaming.write_photo

    def read(*args: Any, **keywords: Any) -> Photo:
        photo = real_read(*args, **keywords)
        alive.append(weakref.ref(photo))
        return photo

    def write(photo: Photo, target: Path, **keywords: Any) -> str:
        if target.name == "5.png":
            raise ValueError("no luck in another thread")
        return real_write(photo, target, **keywords)

    def change(batch: Any) -> Any:
        engine_calls.append(1)
        if len(engine_calls) <= 4:
            raise RuntimeError("no luck") if len(engine_calls) % 2 else OutOfMemoryError("full")
        return batch

    engine_calls: list[int] = []
    monkeypatch.setattr(streaming, "read_photo", read)
    monkeypatch.setattr(streaming, "write_photo", write)
    reports = run(jobs(album), FakeNetworks(engine=FakeEngine(change)))
    assert [report.status is Status.FAILED for report in reports] == [number in (0, 1, 2, 3, 5) for number in range(8)]
    gc.collect()
    assert len(alive) == 8 and not [photo for photo in alive if photo() is not None]
    assert "in change" in str(reports[0].trace) and "RuntimeError: no luck" in str(reports[0].trace)


def test_short_memory_is_told_in_one_sentence(album: Path) -> None:
    def change(batch: Any) -> Any:
        raise MemoryError

    reports = run(jobs(album)[:1], FakeNetworks(engine=FakeEngine(change)))
    assert "not enough memory" in str(reports[0].reason) and reports[0].exit_code == 6


def test_interrupt_leaves_whole_files_only(album: Path) -> None:
    def interrupted(number: int) -> Change:
        calls = 0

        def change(batch: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number:
                raise KeyboardInterrupt
            return batch

        return change

    with pytest.raises(KeyboardInterrupt):
        run(jobs(album), FakeNetworks(engine=FakeEngine(interrupted(5))))
    assert not list(Path("restored").rglob("*.part"))
    for path in Path("restored").glob("*.png"):
        Image.open(path).load()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("restorer-")]


def test_closing_the_run_early_stops_its_threads(album: Path) -> None:
    reports = Stream(FakeNetworks(), OPTIONS).run(jobs(album))
    next(reports)
    reports.close()
    assert not list(Path("restored").rglob("*.part"))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("restorer-")]


def test_api_restores_files(album: Path) -> None:
    restorer = Restorer(OPTIONS, engines=FakeNetworks())
    reports = list(restorer.restore_files([album], OutputOptions(output="api", compare=False)))
    assert len(reports) == 8 and len(digests(Path("api"))) == 8


def test_disk_full_is_what_it_says() -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        disk_full()
