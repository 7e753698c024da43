"""Many photographs over several devices: a stream for each, fed from one list of jobs; reports in the jobs' order."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from restorer.errors import RestorerError
from restorer.outputs import Job
from restorer.pipeline.flow import POLL, Fate, Stopped
from restorer.pipeline.stream import Advance, Stream
from restorer.report import PhotoReport

MakeStream = Callable[[Fate, Advance], Stream]
"""Makes one device's stream, which shares its fate with the others and tells of its own faces."""


@dataclass
class _Lane:
    """One device's part of a run."""

    number: int
    stream: Stream
    taken: deque[int] = field(default_factory=deque)
    """Numbers of the jobs it took and has not reported yet, in order."""


@dataclass(frozen=True)
class _Ended:
    """The end of a lane."""

    error: BaseException | None
    """A fault of this program; what makes photographs fail is in the reports and in the run's fate."""


class Lanes:
    """Deals photographs to the streams of several devices: each takes the next one when it has room.

    A photograph goes all the way on one device. An error that concerns every photograph ends the run on all of them.
    """

    def __init__(
        self, streams: Sequence[MakeStream], *, advance: Advance | None = None, check: Callable[[], None] | None = None
    ) -> None:
        """Prepare a run.

        Args:
            streams: One for each device, the first also for a run of a single photograph.
            advance: Told about every pass through a face network, with the sums over all devices.
            check: Called before the first photograph; raises what would make every one fail.
        """
        self._make, self._advance, self._check = streams, advance, check
        self._progress: dict[int, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def run(self, jobs: Iterable[Job], *, dry_run: bool = False) -> Generator[PhotoReport, None, None]:
        """Restore photographs and yield their reports in the jobs' order; see :meth:`Stream.run`."""
        jobs = list(jobs)
        fate = Fate()
        try:
            if self._check is not None:
                self._check()
        except RestorerError as error:
            fate.end(error)  # the photographs are accounted for all the same
        makers = self._make[:1] if fate.error is not None else self._make[: max(1, len(jobs))]
        lanes = [_Lane(number, make(fate, self._counter(number))) for number, make in enumerate(makers)]
        waiting = iter(enumerate(jobs))
        results: queue.Queue[tuple[int, PhotoReport] | _Ended] = queue.Queue()
        threads = [
            threading.Thread(target=self._drive, args=(lane, waiting, dry_run, results), name=f"restorer-{lane.number}")
            for lane in lanes
        ]
        try:
            for thread in threads:
                thread.start()
            yield from self._in_order(results, len(jobs), len(lanes))
        finally:
            for lane in lanes:
                lane.stream.stop()
            for thread in threads:
                thread.join()
        if fate.error is not None:
            raise fate.error

    def _drive(
        self,
        lane: _Lane,
        waiting: Iterator[tuple[int, Job]],
        dry_run: bool,
        results: queue.Queue[tuple[int, PhotoReport] | _Ended],
    ) -> None:
        """Run one lane to its end, in a thread of its own."""
        try:
            for report in lane.stream.run(self._deal(lane, waiting), dry_run=dry_run):
                results.put((lane.taken.popleft(), report))
        except (Stopped, RestorerError):
            results.put(_Ended(None))  # an interrupt, or the run's fate, which is raised once, after the last report
        except BaseException as error:
            results.put(_Ended(error))
        else:
            results.put(_Ended(None))

    def _deal(self, lane: _Lane, waiting: Iterator[tuple[int, Job]]) -> Iterator[Job]:
        while True:
            with self._lock:
                number, job = next(waiting, (-1, None))
                if job is None:
                    return
                lane.taken.append(number)
            yield job

    def _in_order(
        self, results: queue.Queue[tuple[int, PhotoReport] | _Ended], count: int, lanes: int
    ) -> Iterator[PhotoReport]:
        """Yield reports as soon as it is their turn."""
        early: dict[int, PhotoReport] = {}
        due = 0
        while due < count or lanes:
            try:
                item = results.get(timeout=POLL)  # open to interrupts
            except queue.Empty:
                continue
            if isinstance(item, _Ended):
                lanes -= 1
                if item.error is not None:
                    raise item.error
                continue
            early[item[0]] = item[1]
            while due in early:
                yield early.pop(due)
                due += 1

    def _counter(self, number: int) -> Advance:
        """Return a lane's way to tell of its faces: it gets the sums of all lanes told."""

        def advance(done: int, total: int) -> None:
            with self._lock:
                self._progress[number] = (done, total)
                sums = [sum(counts) for counts in zip(*self._progress.values(), strict=True)]
                if self._advance is not None:
                    self._advance(sums[0], sums[1])

        return advance
