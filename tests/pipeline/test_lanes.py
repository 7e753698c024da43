"""Several devices share a run: order, shares, errors that concern all, lanes that die, interrupts, slow callers."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from restorer import api
from restorer.api import Restorer
from restorer.errors import DeviceError, ExitCode, OutOfMemoryError, WeightsError
from restorer.inputs import find_inputs
from restorer.options import RestoreOptions
from restorer.outputs import Job, OutputOptions, plan
from restorer.pipeline import stream as streaming
from restorer.pipeline.flow import Stopped
from restorer.pipeline.lanes import Lanes, _Collected, _Deal, _Sums
from restorer.pipeline.stream import Stream
from restorer.report import PhotoReport, Status, Summary
from tests.fakes import Change, FakeEngine, FakeNetworks, brighter, many_faces, no_face

OPTIONS = RestoreOptions(upscale=1)
LONG = 30.0
"""Seconds after which something that should have happened at once has not."""


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of twelve small photographs of different sizes."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "album"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(12):
        pixels = rng.integers(0, 255, (70 + 8 * number, 90, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return folder


def jobs(folder: Path, **options: Any) -> list[Job]:
    return plan(find_inputs([folder]), OutputOptions(compare=False, **options))


def networks_of(*changes: Change, device: str = "cuda") -> list[FakeNetworks]:
    return [FakeNetworks(engine=FakeEngine(change, device=device)) for change in changes]


def lanes_of(networks: list[Any], **settings: Any) -> Lanes:
    check, told = settings.pop("check", None), settings.pop("told", None)

    def maker(one: Any) -> Callable[..., Stream]:
        return lambda fate, advance: Stream(one, OPTIONS, fate=fate, advance=advance, **settings)

    return Lanes([maker(one) for one in networks], advance=told, check=check)


def collect(run: Any, into: list[PhotoReport]) -> None:
    for report in run:
        into.append(report)


def names(reports: list[PhotoReport]) -> list[str]:
    return [Path(report.input).name for report in reports]


def contents(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).glob("*.png")}


def threads_left() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("restorer-")]


def together(count: int) -> list[Change]:
    """So many devices' work: none is done with its first faces before all have some."""
    meeting = threading.Barrier(count) if count else None

    def one() -> Change:
        met: list[bool] = []

        def change(batch: Any) -> Any:
            if not met and meeting is not None:
                met.append(True)
                meeting.wait(LONG)
            return brighter(batch)

        return change

    return [one() for _ in range(count)]


ALL = [f"{number:02d}.png" for number in range(12)]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_order_and_bytes_are_those_of_one_device(album: Path, device: str) -> None:
    list(Stream(FakeNetworks(engine=FakeEngine(brighter)), OPTIONS).run(jobs(album, output="one")))

    def delayed(seconds: float) -> Change:
        return lambda batch: (time.sleep(seconds), brighter(batch))[1]

    several = networks_of(delayed(0.02), delayed(0), delayed(0.005), device=device)
    reports = list(lanes_of(several).run(jobs(album, output="three")))
    assert names(reports) == ALL
    assert {report.status for report in reports} == {Status.RESTORED}
    assert contents("three") == contents("one") and len(contents("one")) == 12
    assert threads_left() == []


def test_a_folder_as_small_as_the_number_of_devices_is_spread(album: Path) -> None:
    meeting = threading.Barrier(3)

    def meet(batch: Any) -> Any:
        meeting.wait(LONG)  # breaks unless all three devices work at once
        return brighter(batch)

    reports = list(lanes_of(networks_of(meet, meet, meet)).run(jobs(album)[:3]))
    assert {report.status for report in reports} == {Status.RESTORED}


def test_a_device_that_is_slow_gets_fewer(album: Path) -> None:
    others_done = threading.Event()
    done = Counter[str]()

    def slow(batch: Any) -> Any:
        others_done.wait(LONG)
        done["slow"] += len(batch)
        return brighter(batch)

    def quick(batch: Any) -> Any:
        done["quick"] += len(batch)
        if done["quick"] >= 7:
            others_done.set()
        return brighter(batch)

    reports = list(lanes_of(networks_of(slow, quick), readers=1, writers=1).run(jobs(album)))
    assert names(reports) == ALL
    assert done["quick"] >= 7 and done["slow"] + done["quick"] == 12


def test_shares_by_hand() -> None:
    """Of ten jobs two hands get five at first; of what is left, half at most, and the last ones go to who is free."""
    work: list[Any] = [f"job {number}" for number in range(10)]
    deal = _Deal(work, 2)
    assert [deal.next_for(0) for _ in range(6)] == [*work[:5], None]
    assert deal and deal.reported_by(0) == 0
    assert deal.next_for(0) == "job 5"  # 9 are unfinished: five may be held
    assert deal.next_for(0) is None
    assert [deal.reported_by(0) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert [deal.next_for(0) for _ in range(3)] == ["job 6", "job 7", None]
    assert [deal.next_for(1) for _ in range(3)] == ["job 8", "job 9", None]
    assert not deal


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_photographs_than_devices(album: Path, count: int) -> None:
    several = networks_of(*together(count), *[brighter] * (3 - count))
    reports = list(lanes_of(several).run(jobs(album)[:count]))
    assert names(reports) == ALL[:count]
    assert [bool(one.opened) for one in several] == [True] * count + [False] * (3 - count)


def test_a_device_that_fails_ends_the_run_on_all(album: Path) -> None:
    lost = DeviceError("Device cuda:1 was lost.")
    first_done, both_at_work = threading.Event(), threading.Event()

    def failing(batch: Any) -> Any:
        both_at_work.set()
        first_done.wait(LONG)
        raise lost

    def fine(batch: Any) -> Any:
        first_done.set()
        both_at_work.wait(LONG)
        return brighter(batch)

    reports: list[PhotoReport] = []
    run = lanes_of(networks_of(fine, failing), readers=1, writers=1).run(jobs(album))
    with pytest.raises(DeviceError, match="was lost") as caught:
        collect(run, reports)
    assert caught.value.exit_code == ExitCode.DEVICE
    assert names(reports) == ALL  # all are accounted for, in order
    failed = [report for report in reports if report.status is Status.FAILED]
    assert failed and all(report.error is lost for report in failed)
    assert any("not attempted" in str(report.reason) for report in failed)
    assert set(contents("restored")) == {name for name in ALL if name not in names(failed)}
    assert threads_left() == []


def test_short_memory_on_one_device_costs_one_photograph(album: Path) -> None:
    calls = []
    both_at_work = threading.Event()

    def once(batch: Any) -> Any:
        both_at_work.set()
        calls.append(1)
        if len(calls) == 1:
            raise OutOfMemoryError("full")
        return brighter(batch)

    def waiting(batch: Any) -> Any:
        both_at_work.wait(LONG)
        return brighter(batch)

    several = [FakeNetworks(engine=FakeEngine(change, device="cuda"), batch=1) for change in (once, waiting)]
    reports = list(lanes_of(several).run(jobs(album)))
    assert Counter(report.status for report in reports) == {Status.RESTORED: 11, Status.FAILED: 1}
    assert Summary.of(reports).exit_code == ExitCode.SOME_FAILED


def test_a_missing_device_is_found_before_the_others_begin(album: Path) -> None:
    several = networks_of(brighter, brighter)

    def check() -> None:
        raise DeviceError("Device cuda:1 cannot be used.")

    reports: list[PhotoReport] = []
    with pytest.raises(DeviceError, match="cuda:1 cannot"):
        collect(lanes_of(several, check=check).run(jobs(album)), reports)
    assert names(reports) == ALL and {report.status for report in reports} == {Status.FAILED}
    assert not Path("restored").exists() and not any(one.opened for one in several)


@pytest.mark.parametrize("error", [RuntimeError("a fault"), WeightsError("not everybody's fate")])
def test_a_lane_that_dies_is_no_lane_that_hangs(album: Path, error: Exception) -> None:
    class Dying(FakeNetworks):
        def on_gpu(self) -> bool:
            raise error

    several = [*networks_of(brighter), Dying()]
    with pytest.raises(type(error), match=str(error)):
        list(lanes_of(several).run(jobs(album)))
    assert threads_left() == []
    for content in contents("restored"):
        Image.open(Path("restored") / content).load()


@pytest.mark.parametrize("end", ["close", "interrupt"])
def test_an_early_end_leaves_whole_files_and_no_threads(album: Path, end: str) -> None:
    run = lanes_of(networks_of(brighter, brighter)).run(jobs(album))
    next(run)
    if end == "close":
        run.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            run.throw(KeyboardInterrupt)
    assert threads_left() == []
    assert not list(Path("restored").rglob("*.part"))
    for content in contents("restored"):
        Image.open(Path("restored") / content).load()


def test_devices_wait_for_a_caller_who_asks_for_no_more(album: Path) -> None:
    calls: list[int] = []

    def counted(batch: Any) -> Any:
        calls.append(len(batch))
        return brighter(batch)

    work = [job for number in range(4) for job in jobs(album, output=f"out{number}")]
    run = lanes_of(networks_of(counted, counted), readers=1, writers=1).run(work)
    next(run)
    before = -1
    while before != len(calls):
        before = len(calls)
        time.sleep(0.3)
    assert sum(calls) < 24, "half of the photographs at most were restored ahead"
    assert len(list(run)) == 47


def test_handing_in_after_the_end() -> None:
    collected = _Collected(1)
    collected.put((0, "report"))  # type: ignore[arg-type]
    released = []

    def hand_in() -> None:
        try:
            collected.put((1, "another"))  # type: ignore[arg-type]
        except Stopped:
            released.append(True)

    thread = threading.Thread(target=hand_in)
    thread.start()
    collected.close()
    thread.join(LONG)
    assert not thread.is_alive()
    with pytest.raises(Stopped):
        collected.put((2, "late"))  # type: ignore[arg-type]


def test_memory_is_bounded_for_each_device(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive = most = 0
    lock = threading.Lock()
    real_read, real_write = streaming.read_photo, streaming.write_photo

    def read(*args: Any, **keywords: Any) -> Any:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        return real_read(*args, **keywords)

    def write(*args: Any, **keywords: Any) -> str:
        nonlocal alive
        time.sleep(0.01)
        name = real_write(*args, **keywords)
        with lock:
            alive -= 1
        return name

    monkeypatch.setattr(streaming, "read_photo", read)
    monkeypatch.setattr(streaming, "write_photo", write)
    several = [FakeNetworks(no_face), FakeNetworks(no_face)]
    # a photograph has some 0.01 megapixels, its result as many: one fits, or two
    assert len(list(lanes_of(several, megapixels=0.03).run(jobs(album) * 3))) == 36
    assert 1 < most <= 2 * 3


def test_faces_are_counted_over_all_devices(album: Path) -> None:
    told: list[tuple[int, int]] = []
    sums = _Sums(lambda done, total: told.append((done, total)))
    first, second = sums.of(0), sums.of(1)
    first(1, 4)
    second(2, 3)
    first(4, 4)
    first(1, 2)  # its next pool
    assert told == [(1, 4), (3, 7), (6, 7), (3, 5)]

    told.clear()
    several = [FakeNetworks(many_faces(3), FakeEngine(change, device="cuda"), batch=2) for change in together(2)]
    list(lanes_of(several, told=lambda done, total: told.append((done, total))).run(jobs(album)[:2]))
    assert told[-1] == (6, 6)


def test_a_dry_run_is_dealt_too(album: Path) -> None:
    several = networks_of(brighter, brighter)
    reports = list(lanes_of(several).run([Job(item) for item in find_inputs([album])], dry_run=True))
    assert names(reports) == ALL and {report.reason for report in reports} == {"dry run"}
    assert not Path("restored").exists()


def test_the_option_names_devices_and_each_gets_networks(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    locks = []
    work = iter(together(2))

    def open_networks(options: RestoreOptions, *, lock: Any, **_: Any) -> FakeNetworks:
        opened.append(options.device)
        locks.append(lock)
        return FakeNetworks(engine=FakeEngine(next(work), device=options.device))

    monkeypatch.setattr(api, "OpenedNetworks", open_networks)
    checked: list[str] = []
    monkeypatch.setattr(api, "pick_device", lambda name: checked.append(name) or name)  # type: ignore[func-returns-value]
    reports = list(Restorer(RestoreOptions(upscale=1, device="cuda:0,2")).run(jobs(album)))
    assert opened == checked == ["cuda:0", "cuda:2"]
    assert locks[0] is locks[1]  # they share the store of weights
    assert {report.device for report in reports} == {"cuda:0", "cuda:2"}


def test_devices_share_the_processors_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "thread_limit", lambda: 16)
    assert [streaming._free_cores(streams) for streams in (1, 2, 4, 8)] == [8, 4, 2, 2]


def test_whatever_the_pace_all_come_out_in_order(album: Path) -> None:
    rng = np.random.default_rng(0)
    work = [Job(item) for item in find_inputs([album])]
    for several in (2, 3, 5):
        pauses = rng.uniform(0, 0.004, (several, 64))

        def looking(row: Any) -> Any:
            moments = iter(np.tile(row, 10))
            return lambda pixels: (time.sleep(next(moments)), no_face(pixels))[1]

        engines = [FakeEngine(brighter, device=("cpu", "cuda")[number % 2]) for number in range(several)]
        networks = [FakeNetworks(looking(row), engine) for row, engine in zip(pauses, engines, strict=True)]
        assert names(list(lanes_of(networks).run(work * 2, dry_run=True))) == ALL * 2
    assert threads_left() == []
