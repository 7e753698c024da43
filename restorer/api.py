"""The whole of the package behind one class: what the command uses, and what a program may use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from restorer.faces import Face
from restorer.inputs import find_inputs
from restorer.options import RestoreOptions
from restorer.outputs import Job, OutputOptions, plan, result_folder
from restorer.photo import Photo
from restorer.pipeline import photo as steps
from restorer.pipeline.flow import Fate
from restorer.pipeline.lanes import Lanes
from restorer.pipeline.networks import Networks, OpenedNetworks
from restorer.pipeline.stream import Advance, Stream
from restorer.report import PhotoReport
from restorer.runtime.device import pick_device, split_devices
from restorer.runtime.engine import Engine
from restorer.weights import WeightStore


class Restorer:
    """Restores photographs with one set of options. Networks are opened when first needed, and kept.

    Where the options name several devices, each has networks of its own, and files are dealt over them; a single
    photograph is restored on the first.
    """

    def __init__(
        self,
        options: RestoreOptions | None = None,
        *,
        engines: Networks | None = None,
        store: WeightStore | None = None,
        notify: Callable[[str], None] | None = None,
        describe: Callable[[str], None] | None = None,
        tiles: Callable[[int, int], None] | None = None,
        early: Future[Engine] | None = None,
    ) -> None:
        """Prepare; nothing is opened or downloaded yet.

        Args:
            options: How to restore; None: the defaults.
            engines: The networks, in place of those the options name; they run on one device.
            store: Finds and downloads weights; None: one by the options.
            notify: Gets sentences for the user, such as a fall-back to a bundled network.
            describe: Gets a line about every network that is opened.
            tiles: Gets the number of background tiles done, and of all tiles of a photograph.
            early: The face network as :func:`restorer.runtime.early.begin_to_open` opens it, for a single device.

        Raises:
            UsageError: The options name a face model that nobody knows, or devices that are no list.
            WeightsError: They name a checkpoint that does not exist.
        """
        self.options = options or RestoreOptions()
        self._devices = split_devices(self.options.device)
        if engines is None:
            store = store or WeightStore(
                weights_dir=self.options.weights_dir, offline=self.options.offline, notify=notify or (lambda _: None)
            )
            lock = threading.RLock()  # one for all: they share the store
            self._each: list[Networks] = [
                OpenedNetworks(
                    replace(self.options, device=device),
                    store=store,
                    notify=notify,
                    describe=describe,
                    tiles=tiles,
                    lock=lock,
                    early=early,
                )
                for device in self._devices
            ]
        else:
            self._each = [engines]
        self.networks: Networks = self._each[0]

    def restore(self, photo: Photo, *, advance: Callable[[int], None] | None = None) -> steps.Restoration:
        """Restore one photograph.

        Args:
            photo: From :func:`restorer.read_photo`.
            advance: Gets the number of faces of every pass through the face network.

        Raises:
            RestorerError: The class says why; see :mod:`restorer.errors`.
        """
        return steps.restore(photo, self.networks, self.options, advance=advance)

    def find_faces(self, photo: Photo) -> list[Face]:
        """Find the faces of a photograph, from left to right, whichever would be restored."""
        return list(steps.find_faces(photo, self.networks, steps.Clock()))

    def restore_files(
        self,
        names: str | Path | Iterable[str | Path],
        outputs: OutputOptions | None = None,
        *,
        recursive: bool = False,
    ) -> Iterator[PhotoReport]:
        """Restore files and write the results, as the command does.

        Args:
            names: Files, folders or patterns, or a single one.
            outputs: Where and how results are written; None: into the folder ``restored``.
            recursive: Look into folders within folders.

        Returns:
            Reports, one per photograph in the order of the names; a photograph that fails says so in its report. The
            photographs are restored as the reports are asked for.

        Raises:
            UsageError: Results would clash, or overwrite an input.
            OutputError: The results have no place.
            PhotoError: There is no photograph at all.
            RestorerError: What makes every further photograph fail, raised after the last report.
        """
        outputs = outputs or OutputOptions()
        # A name by itself would be taken for its letters, "." among them.
        names = [names] if isinstance(names, str | Path) else names
        inputs = find_inputs(names, recursive=recursive, exclude=result_folder(outputs.output))
        return self.run(plan(inputs, outputs))

    def run(
        self,
        jobs: Iterable[Job],
        *,
        dry_run: bool = False,
        stdout: BinaryIO | None = None,
        advance: Advance | None = None,
    ) -> Generator[PhotoReport, None, None]:
        """Work off jobs from :func:`restorer.outputs.plan`; see :meth:`restore_files`.

        Args:
            jobs: What to read and what to write.
            dry_run: Only find the faces; write nothing.
            stdout: Where a result for standard output goes.
            advance: Told about every pass through the face network.
        """
        if len(self._each) == 1:
            return Stream(self.networks, self.options, stdout=stdout, advance=advance).run(jobs, dry_run=dry_run)
        streams = [partial(self._stream, networks, stdout) for networks in self._each]
        return Lanes(streams, advance=advance, check=self._check_devices).run(jobs, dry_run=dry_run)

    def _stream(self, networks: Networks, stdout: BinaryIO | None, fate: Fate, advance: Advance) -> Stream:
        streams = len(self._each)
        return Stream(networks, self.options, stdout=stdout, advance=advance, fate=fate, streams=streams)

    def _check_devices(self) -> None:
        """Raise where one of several devices is missing, before the others have begun."""
        for device in self._devices:
            pick_device(device)
