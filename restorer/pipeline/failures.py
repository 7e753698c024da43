"""What an error that ends a photograph means for the photographs after it."""

from __future__ import annotations

import errno
from typing import TypeGuard

from restorer.errors import DeviceError, OutOfMemoryError, OutputError, RestorerError, UsageError, WeightsError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def translated(error: Exception) -> Exception:
    """Return an error of this package for what libraries raise when memory is short."""
    # OpenCV's StsNoMem
    if isinstance(error, MemoryError) or getattr(error, "code", None) == -4:
        short = OutOfMemoryError("There is not enough memory for this photograph: try a smaller --upscale.")
        short.__cause__ = error
        return short
    return error


def concerns_all(error: Exception) -> TypeGuard[RestorerError]:
    """Return whether an error would meet every further photograph as well."""
    if isinstance(error, OutputError):
        return getattr(error.__cause__, "errno", None) in _NO_ROOM
    if isinstance(error, DeviceError):
        return not isinstance(error, OutOfMemoryError)
    return isinstance(error, UsageError | WeightsError)
