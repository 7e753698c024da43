"""The exception family: every error a user can meet, each class with its exit code.

A message says what went wrong, why it matters and what to try. One place, the command's boundary, turns a
:class:`RestorerError` into one line on standard error and its exit code; ``-v`` adds the traceback.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the ``restore`` and ``restorer`` commands."""

    OK = 0
    """Every input restored, unchanged or skipped."""
    INTERNAL = 1
    """A fault of ours."""
    USAGE = 2
    """The command line does not make sense: unknown option, clashing outputs, an output that is an input."""
    NO_INPUT = 3
    """No readable input."""
    OUTPUT = 4
    """The output cannot be written."""
    WEIGHTS = 5
    """Weights missing, corrupt or not to be had."""
    DEVICE = 6
    """Device missing or out of memory."""
    SOME_FAILED = 7
    """Finished, but some photographs failed."""
    SIGINT = 130
    """Interrupted from the keyboard."""
    SIGTERM = 143
    """Terminated."""


class RestorerError(Exception):
    """Base of everything this package raises on purpose."""

    exit_code: ExitCode = ExitCode.INTERNAL


class UsageError(RestorerError):
    """Thrown where options or arguments contradict each other or name something unknown."""

    exit_code = ExitCode.USAGE


class PhotoError(RestorerError):
    """Thrown where a photograph cannot be read: missing, truncated, no image, too large."""

    exit_code = ExitCode.NO_INPUT


class OutputError(RestorerError):
    """Thrown where a result cannot be written: folder read-only, disk full, format cannot hold it."""

    exit_code = ExitCode.OUTPUT


class WeightsError(RestorerError):
    """Thrown where a weight file is missing, corrupt, unknown, unsafe or cannot be downloaded."""

    exit_code = ExitCode.WEIGHTS


class DownloadError(WeightsError):
    """Thrown where a weight file could not be fetched or stored; the only weights error that allows a fall-back."""


class DeviceError(RestorerError):
    """Thrown where a device that was named is missing or unusable."""

    exit_code = ExitCode.DEVICE


class OutOfMemoryError(DeviceError):
    """Thrown where a device's memory does not suffice even for the smallest batch or tile."""
