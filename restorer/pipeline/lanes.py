"""Many photographs over several devices: a stream for each, fed from one list of jobs; reports in the jobs' order."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from restorer.errors import RestorerError
from restorer.outputs import Job
from restorer.pipeline.flow import POLL, Fate, Stopped, Waiting
from restorer.pipeline.stream import Advance, Stream
from restorer.report import PhotoReport

MakeStream = Callable[[Fate, Advance], Stream]
"""Makes one device's stream, which shares its fate with the others and tells of its own faces."""


@dataclass(frozen=True)
class _Ended:
    """The end of a lane."""

    error: BaseException | None
    """A fault of this program; what makes photographs fail is in the reports and in the run's fate."""


_Result = tuple[int, PhotoReport] | _Ended
"""A job's number and its report, or the end of a lane."""


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
            advance: Told about every pass through a face network, with the sums over all devices; from any thread,
                by one at a time.
            check: Called before the first photograph; raises what would make every one fail.
        """
        self._make, self._check = streams, check
        self._sums = _Sums(advance or (lambda done, total: None))

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
        streams = [make(fate, self._sums.of(number)) for number, make in enumerate(makers)]
        deal, collected = _Deal(jobs, len(streams)), _Collected(len(streams))
        threads: list[threading.Thread] = []
        try:
            for number, stream in enumerate(streams):
                work = (stream, _Hand(deal, number), dry_run, fate, collected)
                thread = threading.Thread(target=_drive, args=work, name=f"restorer-lane-{number}")
                thread.start()
                threads.append(thread)
            yield from collected.in_order()
        finally:
            for stream in streams:
                stream.stop()
            collected.close()
            _wait_for_all(threads)
        if fate.error is not None:
            raise fate.error


def _wait_for_all(threads: Sequence[threading.Thread]) -> None:
    """Wait until all have ended, also where an impatient user interrupts again: files under way become whole first."""
    interrupt: BaseException | None = None
    for thread in threads:
        while thread.is_alive():
            try:
                thread.join(POLL)
            except BaseException as error:
                interrupt = error
    if interrupt is not None:
        raise interrupt


def _drive(stream: Stream, hand: _Hand, dry_run: bool, fate: Fate, collected: _Collected) -> None:
    """Run one lane to its end, in a thread of its own."""
    try:
        for report in stream.run(hand, dry_run=dry_run):
            collected.put((hand.reported(), report))
        end = _Ended(None)
    except Stopped:
        return  # nobody waits for it any more
    except BaseException as error:
        # the run's fate is raised once, after the last report
        end = _Ended(None if error is fate.error else error)
    with suppress(Stopped):
        collected.put(end)


class _Deal:
    """The jobs of a run, and who holds which; any thread may ask."""

    def __init__(self, jobs: Sequence[Job], hands: int) -> None:
        self._jobs = deque(enumerate(jobs))
        self._held: list[deque[int]] = [deque() for _ in range(hands)]
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def next_for(self, hand: int) -> Job | None:
        """Give the next job away; None where there is none, or where that hand holds its share of what is left.

        Without the last rule the first device's readers would take all of a small folder, and the others none. A hand
        that holds nothing always gets one.
        """
        with self._lock:
            unfinished = len(self._jobs) + sum(len(held) for held in self._held)
            share = -(-unfinished // len(self._held))
            if not self._jobs or len(self._held[hand]) >= share:
                return None
            number, job = self._jobs.popleft()
            self._held[hand].append(number)
            return job

    def reported_by(self, hand: int) -> int:
        """Return the number of the job whose report a hand gives now: it reports in the order in which it took."""
        with self._lock:
            return self._held[hand].popleft()


class _Hand(Waiting):
    """One lane's jobs yet to begin."""

    def __init__(self, deal: _Deal, number: int) -> None:
        super().__init__(())
        self._deal, self._number = deal, number

    def __bool__(self) -> bool:
        return self._first is not None or bool(self._deal)

    def first(self) -> Job | None:
        """Return the next job and keep it; None where there is none just now."""
        if self._first is None:
            self._first = self._deal.next_for(self._number)
        return self._first

    def reported(self) -> int:
        """Return the number of the job whose report comes now."""
        return self._deal.reported_by(self._number)


class _Collected:
    """Reports of all lanes on their way to the caller; lanes wait where the caller does not ask for more."""

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._queue: queue.Queue[_Result] = queue.Queue(maxsize=lanes)
        self._closed = threading.Event()

    def put(self, item: _Result) -> None:
        """Hand something in.

        Raises:
            Stopped: The caller has gone.
        """
        while not self._closed.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=POLL)
                return
        raise Stopped

    def close(self) -> None:
        """Let go whoever hands something in or will."""
        self._closed.set()
        with suppress(queue.Empty):
            while True:
                self._queue.get_nowait()

    def in_order(self) -> Iterator[PhotoReport]:
        """Yield reports as soon as it is their turn, until every lane has ended."""
        early: dict[int, PhotoReport] = {}
        due, lanes = 0, self._lanes
        while lanes:
            try:
                item = self._queue.get(timeout=POLL)  # open to interrupts
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


class _Sums:
    """Counts of faces, by lane, told on as sums over all lanes."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._counts: dict[int, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def of(self, lane: int) -> Advance:
        """Return a lane's way to tell of its faces."""

        def advance(done: int, total: int) -> None:
            with self._lock:
                self._counts[lane] = (done, total)
                self._advance(sum(done for done, _ in self._counts.values()), sum(n for _, n in self._counts.values()))

        return advance
