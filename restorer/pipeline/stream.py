"""All steps for many photographs: readers, one compute stage that pools faces, writers; memory bounded, order kept.

The caller's thread admits, computes and hands on; threads beside it read and write. Where networks run on a GPU, which
leaves the processor's cores free, the reading threads also find faces and cut them out. Nothing is ever in flight
beyond a fixed number of photographs and of pixels. An error travels with its photograph as a value. What concerns every
photograph (no weights, no device, a full disk) ends the run: the photographs left are reported as not attempted, and
then the error is raised.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from restorer.errors import PhotoError, RestorerError
from restorer.faces import RestoredFace
from restorer.options import RestoreOptions
from restorer.outputs import Job, make_folder
from restorer.photo import Photo, check_size, fit_format, peek, read_photo, write_photo
from restorer.pipeline import photo as steps
from restorer.pipeline.choose import choose
from restorer.pipeline.failures import concerns_all, detach, translated
from restorer.pipeline.flow import Computed, Fate, Finishing, Loading, Skipped, Stopped, Waiting, ended_with, wait_for
from restorer.pipeline.networks import Networks
from restorer.pipeline.restore import DEFAULT_SIZE
from restorer.report import PhotoReport, Status
from restorer.resample import enlarged_size
from restorer.runtime.device import thread_limit

WORKERS = (2, 8)
"""Threads that read, and as many that write: where networks run on the processor, and at most beside a GPU, whose
faces take a hundredth of the time that decoding, cutting out, colouring, pasting and encoding take."""
MEGAPIXELS = 160.0
"""Megapixels in flight, of inputs and results together: about 1.5 GB. A larger photograph goes alone."""

Advance = Callable[[int, int], None]
"""Gets the number of faces restored so far, and to be restored, of the photographs under way together."""


class Stream:
    """Takes many photographs all the way."""

    def __init__(
        self,
        networks: Networks,
        options: RestoreOptions,
        *,
        readers: int | None = None,
        writers: int | None = None,
        megapixels: float = MEGAPIXELS,
        stdout: BinaryIO | None = None,
        advance: Advance | None = None,
        fate: Fate | None = None,
        streams: int = 1,
    ) -> None:
        """Prepare a run.

        Args:
            networks: The networks.
            options: How to restore.
            readers: Threads that read; None: by the processor and by where the networks run.
            writers: Threads that enlarge, paste and write; None: likewise.
            megapixels: Bound of pixels in flight.
            stdout: Where a result for standard output goes.
            advance: Told about every pass through the face network.
            fate: Shared with other streams that work off the same jobs.
            streams: How many streams share the processor, this one included.
        """
        self._networks, self._options = networks, options
        self._ahead = False
        self._readers, self._writers, self._megapixels = readers or WORKERS[0], writers or WORKERS[0], megapixels
        self._named_readers, self._named_writers, self._streams = readers, writers, streams
        self._stdout = stdout
        self._advance = advance or (lambda done, total: None)
        self._loading: deque[Loading] = deque()
        self._pool: list[Computed] = []
        self._finishing: deque[Finishing] = deque()
        self._stop = threading.Event()
        self._fate = fate or Fate()

    def stop(self) -> None:
        """Begin no further photograph or file; for another thread than the one that runs this."""
        self._stop.set()

    def run(self, jobs: Iterable[Job] | Waiting, *, dry_run: bool = False) -> Generator[PhotoReport, None, None]:
        """Restore photographs and yield their reports in the jobs' order.

        Args:
            jobs: From :func:`restorer.outputs.plan`, or this stream's part of them.
            dry_run: Only find the faces; write nothing.

        Raises:
            UsageError, WeightsError, DeviceError, OutputError: What makes any further photograph fail, raised after
                the last report.
        """
        waiting = jobs if isinstance(jobs, Waiting) else Waiting(jobs)
        self._ahead = self._networks.on_gpu()
        workers = _free_cores(self._streams) if self._ahead else WORKERS[0]
        self._readers, self._writers = self._named_readers or workers, self._named_writers or workers
        reading = ThreadPoolExecutor(self._readers, "restorer-read")
        writing = ThreadPoolExecutor(self._writers, "restorer-write")
        try:
            while not self._stop.is_set() and (self._loading or self._pool or self._finishing or waiting):
                self._admit(waiting, reading, dry_run)
                if self._loading:
                    self._compute_next(writing, dry_run)
                else:
                    self._flush(writing)
                yield from self._ended()
        finally:
            # Files being written are finished, others are not begun.
            self._stop.set()
            reading.shutdown(wait=True, cancel_futures=True)
            writing.shutdown(wait=True, cancel_futures=True)
        if self._fate.error is not None:
            raise self._fate.error

    # Reading

    def _admit(self, waiting: Waiting, reading: ThreadPoolExecutor, dry_run: bool) -> None:
        """Let readers begin with as many photographs as there are threads and memory for."""
        while len(self._loading) <= self._readers and (job := waiting.first()) is not None:
            megapixels = self._megapixels_of(job)
            under_way: list[Loading | Computed | Finishing] = [*self._loading, *self._pool, *self._finishing]
            in_flight = sum(item.megapixels for item in under_way)
            if in_flight and in_flight + megapixels > self._megapixels:
                return
            waiting.take()
            clock = steps.Clock()
            read = partial(self._read, job, clock)
            work: Future[Photo | Computed] = (
                reading.submit(self._prepare, job, megapixels, clock, read, dry_run)
                if self._ahead
                else reading.submit(read)
            )
            self._loading.append(Loading(job, megapixels, clock, work))

    def _megapixels_of(self, job: Job) -> float:
        """Return the megapixels of a photograph and its result together, by its header; 0 if it will not be read."""
        if self._fate.error is not None or job.input.error is not None or _skipped(job):
            return 0.0
        try:
            width, height = peek(job.input.source).size
        except PhotoError:
            return 0.0  # reading it fails, too
        return width * height * (1 + self._options.upscale**2) / 1e6

    def _read(self, job: Job, clock: steps.Clock) -> Photo:
        if job.input.error is not None:
            raise job.input.error
        if self._fate.error is not None:
            raise self._fate.error
        if _skipped(job):
            raise Skipped("the output exists already")
        with clock.step("read"):
            return read_photo(job.input.source, name=job.input.shown)

    # Computing

    def _compute_next(self, writing: ThreadPoolExecutor, dry_run: bool) -> None:
        """Find the next photograph's faces and put them into the pool; restore the pool once it fills a batch."""
        loading = self._loading[0]
        if not loading.work.done():
            self._flush(writing)  # rather than wait for the pool to fill
        wait_for(loading.work)
        self._loading.popleft()
        self._pool.append(self._prepared(loading, dry_run))
        faces = self._pooled_faces()
        if faces == 0 or faces >= self._networks.face_restorer().batch:
            self._flush(writing)

    def _prepared(self, loading: Loading, dry_run: bool) -> Computed:
        if self._ahead:
            computed = loading.work.result()
            assert isinstance(computed, Computed)
            return computed

        def photo() -> Photo:
            read = loading.work.result()
            assert isinstance(read, Photo)
            return read

        return self._prepare(loading.job, loading.megapixels, loading.clock, photo, dry_run)

    def _prepare(
        self, job: Job, megapixels: float, clock: steps.Clock, read: Callable[[], Photo], dry_run: bool
    ) -> Computed:
        photo = None
        try:
            photo = read()
            if self._fate.error is not None:
                raise self._fate.error
            if dry_run:
                return Computed(job, megapixels, report=self._found(job, photo, clock))
            if job.format is not None:  # before any work, and before a comparison lies there alone
                size = enlarged_size(*photo.size, self._options.upscale)
                check_size(size, job.format, "standard output" if job.to_stdout else str(job.output))
            prepared = steps.prepare(photo, self._networks, self._options, clock)
            return Computed(job, megapixels, prepared)
        except Skipped as skipped:
            report = PhotoReport(job.input.name, Status.SKIPPED, str(skipped), output=job.output_name)
        except Exception as error:  # whatever ends one photograph must not end the others
            report = self._failed(job, error, clock, photo)
        return Computed(job, megapixels, report=report)

    def _found(self, job: Job, photo: Photo, clock: steps.Clock) -> PhotoReport:
        """Report a photograph's faces without restoring them."""
        if self._options.aligned:
            faces = steps.aligned_face(photo)
            reasons: list[str | None] = [None]
        else:
            faces = steps.find_faces(photo, self._networks, clock)
            with clock.step("align"):
                faces, reasons, _ = choose(photo, faces, self._options, DEFAULT_SIZE, self._networks.confirm())
        device, precision = self._networks.device()
        return PhotoReport(
            job.input.name,
            Status.SKIPPED,
            "dry run",
            size_in=photo.size,
            faces=steps.face_reports(faces, reasons, restored=False),
            upscale=self._options.upscale,
            device=device,
            precision=precision,
            seconds=clock.seconds,
            warnings=(*photo.warnings, *self._networks.take_notices()),
        )

    def _pooled_faces(self) -> int:
        return sum(len(item.prepared.aligned) for item in self._pool if item.prepared is not None)

    def _flush(self, writing: ThreadPoolExecutor) -> None:
        """Restore the pool's faces and hand its photographs on to the writers."""
        pool, self._pool = self._pool, []
        faces = self._restore([item.prepared for item in pool if item.prepared is not None])
        for item in pool:
            self._finishing.append(Finishing(item.megapixels, self._hand_on(item, faces, writing)))

    def _restore(self, photos: list[steps.Prepared]) -> dict[int, list[RestoredFace] | Exception]:
        """Restore the faces of several photographs together; the result is by the photographs' ids."""
        wanted = [photo for photo in photos if photo.aligned]
        if not wanted:
            return {}
        crops = [crop for photo in wanted for crop in photo.crops()]
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self._advance(done, len(crops))

        clock = steps.Clock()
        try:
            with clock.step("restore"):
                restored = self._networks.face_restorer()(crops, advance=advance)
        except Exception as error:
            if len(wanted) == 1:
                return {id(wanted[0]): error}
            # Which photograph is to blame shows when each goes alone.
            return {key: value for photo in wanted for key, value in self._restore([photo]).items()}
        result: dict[int, list[RestoredFace] | Exception] = {}
        for photo in wanted:
            count = len(photo.aligned)
            photo.clock.add("restore", clock.seconds["restore"] * count / len(crops))
            result[id(photo)], restored = restored[:count], restored[count:]
        return result

    def _hand_on(
        self, item: Computed, faces: dict[int, list[RestoredFace] | Exception], writing: ThreadPoolExecutor
    ) -> Future[PhotoReport]:
        if item.prepared is None:
            assert item.report is not None
            return ended_with(item.report)
        prepared, job = item.prepared, item.job
        try:
            restored = faces.get(id(prepared), [])
            if isinstance(restored, Exception):
                raise restored
            painted = steps.paint(prepared, restored, self._networks, self._options)
        except Exception as error:
            return ended_with(self._failed(job, error, prepared.clock, prepared.photo))
        return writing.submit(self._finish, job, painted)

    # Writing

    def _finish(self, job: Job, painted: steps.Painted) -> PhotoReport:
        prepared = painted.prepared
        try:
            return self._write(job, steps.finish(painted, self._options), prepared.clock)
        except Stopped:
            raise
        except Exception as error:
            return self._failed(job, error, prepared.clock, prepared.photo)

    def _write(self, job: Job, restoration: steps.Restoration, clock: steps.Clock) -> PhotoReport:
        """Write a photograph's files, itself last: where it lies, everything of it lies."""
        fitted = restoration.photo if job.format is None else fit_format(restoration.photo, job.format)
        if job.faces is not None:
            with clock.step("write"):
                numbers = [number for number, face in enumerate(restoration.report.faces) if face.restored]
                for number, pair in zip(numbers, steps.face_pairs(restoration, self._options), strict=True):
                    self._put(pair, job.face_path(number), "PNG", None)
        if job.comparison is not None:
            with clock.step("compare"):
                drawn = steps.comparison(restoration, self._options)
                self._put(drawn, job.comparison, "JPEG", job.quality)
        with clock.step("write"):
            self._put(fitted, self._stdout if job.to_stdout else job.output, job.format, job.quality)
        return replace(
            restoration.report,
            input=job.input.name,
            output=job.output_name,
            comparison=None if job.comparison is None else str(job.comparison),
            warnings=tuple(dict.fromkeys((*restoration.report.warnings, *fitted.warnings))),
        )

    def _put(self, photo: Photo, target: Path | BinaryIO | None, format: str | None, quality: int | None) -> None:
        if self._stop.is_set():
            raise Stopped
        if target is None:
            return
        if isinstance(target, Path):
            make_folder(target.parent)
        write_photo(photo, target, format=format, quality=quality)

    # Ending

    def _ended(self) -> Iterator[PhotoReport]:
        """Yield the reports that are due; wait for one where nothing else can go on or too many are under way."""
        must = not self._loading
        while self._finishing:
            first = self._finishing[0].report
            if not (first.done() or must or len(self._finishing) > self._writers + 1):
                return
            wait_for(first)
            self._finishing.popleft()
            must = False
            report = first.result()
            if report.error is not None:  # a caller may keep the reports of thousands of photographs
                report = replace(report, trace=detach(report.error))
            yield report

    def _failed(self, job: Job, error: Exception, clock: steps.Clock, photo: Photo | None) -> PhotoReport:
        error = translated(error)
        reason = str(error)
        if error is self._fate.error:
            reason = f"not attempted: {reason}"
        elif concerns_all(error):
            self._fate.end(error)
        if not isinstance(error, RestorerError):
            reason = f"a fault of this program ({type(error).__name__}: {error})"
        return PhotoReport(
            job.input.name,
            Status.FAILED,
            reason,
            size_in=None if photo is None else photo.size,
            upscale=self._options.upscale,
            seconds=clock.seconds,
            warnings=() if photo is None else photo.warnings,
            error=error,
        )


def _free_cores(streams: int) -> int:
    """Return how many threads each reading and writing are worth beside a GPU: half of its cores, within bounds."""
    return min(max((thread_limit() or os.cpu_count() or 1) // streams // 2, WORKERS[0]), WORKERS[1])


def _skipped(job: Job) -> bool:
    return job.skip_existing and job.output is not None and job.output.exists()
