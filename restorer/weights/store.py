"""The weight files of one run: found on disk, else downloaded, always checked; what ``auto`` means stands here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from restorer.errors import DownloadError, UsageError, WeightsError
from restorer.weights.folders import bundled_folder, default_download_folder, environment_folder, user_cache
from restorer.weights.hashes import HashMemory, note_path, read_note, write_note
from restorer.weights.partial import PartialFile, Progress
from restorer.weights.table import Kind, WeightFile, read_table

if TYPE_CHECKING:
    from restorer.weights.download import Downloader

AUTO = "auto"
FACE_MODELS = ("gfpgan-1.4", "gfpgan-1.3", "gfpgan-1.2")
"""Official face models, best first; the first is the one that is downloaded."""
FACE_FALLBACK = "lite"
DETECTORS = ("retinaface-resnet50", "retinaface-mobilenet0.25")
"""Official detectors, best first; the first is the one that is downloaded."""
DETECTOR_FALLBACK = "detector-lite"
PARSER = "bisenet"
CHECKPOINT_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors")

State = Literal["absent", "unchecked", "checked", "wrong"]


@dataclass(frozen=True)
class Weights:
    """A weight file at hand, checked."""

    name: str
    """Its name in the table; for a file named by its path, the file name without suffix."""
    path: Path
    sha256: str
    """SHA-256 of the file, lower-case hexadecimal."""
    fallback: bool = False
    """True: a bundled network in place of a better one that could not be had."""
    reason: str | None = None
    """Why the fall-back."""
    row: WeightFile | None = None
    """Its row in the table; None for a file named by its path."""
    notice: str | None = None
    """The sentence with which the user was told of the fall-back."""


@dataclass(frozen=True)
class FileState:
    """What is known of a row's file without reading it."""

    row: WeightFile
    path: Path | None
    state: State
    """``unchecked``: on disk, but not hashed since it last changed."""


class WeightStore:
    """Finds, downloads and checks weight files; one per run, for it remembers that a connection failed."""

    def __init__(
        self,
        *,
        weights_dir: str | Path | None = None,
        offline: bool = False,
        notify: Callable[[str], None] | None = None,
        progress: Progress | None = None,
        table: Mapping[str, WeightFile] | None = None,
        downloader: Downloader | None = None,
    ) -> None:
        """Prepare; neither disk nor network is touched.

        Args:
            weights_dir: Folder searched first, and where downloads go.
            offline: Never open a connection.
            notify: Takes a sentence for the user, such as a fall-back; each is given once.
            progress: Called while bytes arrive.
            table: The rows by name; None: this package's manifest, read when first needed.
            downloader: Does the downloads; None: one with the usual time limits.
        """
        self._weights_dir = None if weights_dir is None else Path(weights_dir)
        self._offline = offline
        self._notify = notify or (lambda _: None)
        self._table = table
        self._downloader, self._progress = downloader, progress
        self._memory = HashMemory(user_cache() / "weights-checked.json")
        self._notified: set[str] = set()

    @property
    def table(self) -> Mapping[str, WeightFile]:
        """The rows by name."""
        if self._table is None:
            self._table = read_table()
        return self._table

    @property
    def download_folder(self) -> Path:
        """Where downloads go: ``--weights-dir``, else ``$RESTORER_WEIGHTS``, else the per-user cache."""
        return self._weights_dir or default_download_folder()

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders searched, in order."""
        named = (self._weights_dir, environment_folder(), user_cache() / "weights", bundled_folder())
        return tuple(dict.fromkeys(folder for folder in named if folder is not None))

    def row(self, name: str, kind: Kind | None = None) -> WeightFile:
        """Return a row of the table.

        Raises:
            UsageError: No such name, or none of that kind.
        """
        row = self.table.get(name)
        if row is None or kind not in (None, row.kind):
            known = ", ".join(row.name for row in self.table.values() if kind in (None, row.kind))
            what = f"{kind} network" if kind else "weight file"
            raise UsageError(f"{name} is no {what} in the table: choose one of {known}.")
        return row

    def locate(self, name: str) -> Path | None:
        """Return where a file of the table lies on disk, unchecked; None if it is absent.

        A bundled file lies in the bundled folder and nowhere else.
        """
        row = self.row(name)
        folders = (bundled_folder(),) if row.bundled else self.folders
        return next((path for folder in folders if _is_file(path := folder / row.file)), None)

    def find(self, name: str) -> Weights | None:
        """Return a file of the table if it is on disk, checked; None if it is absent.

        Raises:
            WeightsError: The file is not the one the table means.
            UsageError: No such name.
        """
        path = self.locate(name)
        return None if path is None else self._checked(self.row(name), path)

    def get(self, name: str) -> Weights:
        """Return a file of the table, downloaded if it is absent.

        Raises:
            DownloadError: It is absent and cannot be had.
            WeightsError: What is on disk or arrives is not the file the table means.
            UsageError: No such name.
        """
        row = self.row(name)
        found = self.find(name)
        if found is not None:
            return found
        if row.bundled:
            raise WeightsError(
                f"{name} should be at {bundled_folder() / row.file}: the installation is damaged, install again."
            )
        if self._offline:
            raise DownloadError(
                f"{name} is not on disk and --offline forbids downloading it: run `restorer weights get {name}` with a "
                f"connection, or put {row.file} into {self.download_folder}."
            )
        if self._downloader is None:
            # not before: most runs need nothing of HTTP
            from restorer.weights.download import Downloader

            self._downloader = Downloader(notify=self._notify, progress=self._progress)
        sha256 = self._downloader.download(row, self.download_folder)
        path = self.download_folder / row.file
        if sha256 is not None:
            self._memory.remember(path, sha256)
        return self._checked(row, path)

    def verify(self, name: str) -> Weights:
        """Hash a file of the table anew, whatever is remembered of it.

        Raises:
            WeightsError: The file is absent or not the one the table means.
            UsageError: No such name.
        """
        path = self.locate(name)
        if path is None:
            raise WeightsError(f"{name} is not on disk: `restorer weights get {name}` downloads it.")
        return self._checked(self.row(name), path, fresh=True)

    def state(self, name: str) -> FileState:
        """Say what is known of a file of the table without reading it.

        Raises:
            UsageError: No such name.
        """
        row, path = self.row(name), self.locate(name)
        if path is None:
            return FileState(row, None, "absent")
        if row.size not in (None, path.stat().st_size):
            return FileState(row, path, "wrong")
        try:
            seen, expected = self._memory.recall(path), row.sha256 or read_note(path)
        except WeightsError:
            return FileState(row, path, "wrong")
        if seen is None or expected is None:
            return FileState(row, path, "unchecked")
        return FileState(row, path, "checked" if seen == expected else "wrong")

    def remove(self, name: str) -> tuple[Path, ...]:
        """Delete a downloaded file, what belongs to it and what is left of a broken download of it.

        Returns:
            The deleted files; empty if there were none.

        Raises:
            WeightsError: The file is bundled, lies outside the download folder or cannot be deleted.
            UsageError: No such name.
        """
        row = self.row(name)
        if row.bundled:
            raise WeightsError(f"{name} is part of the installation and stays: only downloaded files can be removed.")
        target = self.download_folder / row.file
        part = PartialFile(target)
        present = [path for path in (target, note_path(target), part.path, part.mark_path) if _is_file(path)]
        elsewhere = self.locate(name)
        if not present and elsewhere is not None:
            raise WeightsError(
                f"{elsewhere} is not in the download folder {self.download_folder} and stays: delete it yourself, or "
                "name its folder with --weights-dir."
            )
        try:
            for path in present:
                path.unlink()
        except OSError as error:
            raise WeightsError(f"{path} cannot be deleted: {error.strerror or error}.") from error
        return tuple(present)

    def face_model(self, model: str = AUTO) -> Weights:
        """Return the face model: the one named, or the best at hand for ``auto``.

        ``auto`` takes the best official checkpoint on disk, else downloads the best, else takes the bundled network.

        Args:
            model: ``auto``, a name from the table, or a path to a checkpoint. What is named is never replaced.

        Raises:
            DownloadError: A named model is absent and cannot be had.
            WeightsError: A file is not the one the table means, or a path leads to no file.
            UsageError: The model is neither a name in the table nor a path.
        """
        if model == AUTO:
            return self._best(FACE_MODELS, FACE_FALLBACK)
        if model not in self.table and _looks_like_path(model):
            return self._from_path(Path(model))
        return self.get(self.row(model, "face").name)

    def remembered_face_model(self, model: str = AUTO) -> Weights | None:
        """Return what :meth:`face_model` would, where that takes no hashing, no connection and no fall-back; else None.

        Raises:
            WeightsError, UsageError: As :meth:`face_model`.
        """
        if model != AUTO and model not in self.table and _looks_like_path(model):
            sha256 = self._memory.recall(Path(model))
            return None if sha256 is None else Weights(Path(model).stem, Path(model), sha256)
        for name in FACE_MODELS if model == AUTO else (model,):
            state = self.state(name).state
            if state != "absent":
                return self.find(name) if state == "checked" else None
        return None

    def check_face_model(self, model: str) -> None:
        """Refuse what :meth:`face_model` could make nothing of, without reading or downloading it.

        Raises:
            UsageError: The model is neither a name in the table nor a path.
            WeightsError: A path leads to no file.
        """
        if model in self.table or not _looks_like_path(model):
            if model != AUTO:
                self.row(model, "face")
        else:
            _check_file(Path(model))

    def detector(self, name: str = AUTO) -> Weights:
        """Return the face detector: the one named, or the best at hand for ``auto``, as in :meth:`face_model`."""
        if name == AUTO:
            return self._best(DETECTORS, DETECTOR_FALLBACK)
        if name not in self.table and _looks_like_path(name):
            return self._from_path(Path(name))
        return self.get(self.row(name, "detector").name)

    def parser(self) -> Weights | None:
        """Return the face parser if it is on disk; it is never downloaded unasked.

        Raises:
            WeightsError: The file is not the one the table means.
        """
        return self.find(PARSER)

    def background(self, name: str) -> Weights:
        """Return a background network by name, downloaded if it is absent; it is never replaced.

        Raises:
            DownloadError: It is absent and cannot be had.
            WeightsError: What is on disk or arrives is not the file the table means.
            UsageError: No such background network.
        """
        return self.get(self.row(name, "upsampler").name)

    def _best(self, official: tuple[str, ...], fallback: str) -> Weights:
        for name in official:
            found = self.find(name)
            if found is not None:
                return found
        try:
            return self.get(official[0])
        except DownloadError as error:
            reason = str(error)
        try:
            bundled = self.get(fallback)
        except WeightsError as error:
            raise WeightsError(f"{error} Before that: {reason}") from error
        notice = f"using the bundled network {fallback} in place of {official[0]}: {reason}"
        self._say(notice)
        return replace(bundled, fallback=True, reason=reason, notice=notice)

    def _say(self, sentence: str) -> None:
        if sentence not in self._notified:
            self._notified.add(sentence)
            self._notify(sentence)

    def _from_path(self, path: Path) -> Weights:
        _check_file(path)
        return Weights(path.stem, path, self._memory.sha256(path))

    def _checked(self, row: WeightFile, path: Path, *, fresh: bool = False) -> Weights:
        """Compare a file with what the table, or the note of its first download, says of it."""
        advice = (
            "install again"
            if row.bundled
            else f"delete it (`restorer weights remove {row.name}`) and get it anew (`restorer weights get {row.name}`)"
        )
        size = path.stat().st_size
        if row.size not in (None, size):
            raise WeightsError(f"{path} is damaged, it has {size} bytes where {row.name} has {row.size}: {advice}.")
        sha256 = self._memory.sha256(path, fresh=fresh)
        expected = row.sha256 or (None if row.bundled else read_note(path))
        if expected is None and not row.bundled and write_note(path, sha256):
            self._say(f"nobody states a checksum for {row.name}; noted SHA-256 {sha256}")
        if expected not in (None, sha256):
            raise WeightsError(
                f"{path} has SHA-256 {sha256} where {row.name} has {expected}, it is damaged or another file: {advice}."
            )
        return Weights(row.name, path, sha256, row=row)


def _looks_like_path(model: str) -> bool:
    path = Path(model)
    return path.suffix.lower() in CHECKPOINT_SUFFIXES or path.name != model or path.exists()


def _check_file(path: Path) -> None:
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise WeightsError(f"the checkpoint {path} {what}: give the path of a .pth or .safetensors file.")


def _is_file(path: Path) -> bool:
    """Return whether there is such a file; what lies in a folder that may not be entered does not count."""
    try:
        return path.is_file()
    except OSError:
        return False
