"""What an error that ends a photograph means for the photographs after it."""

from __future__ import annotations

import errno
import traceback
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


def detach(error: BaseException) -> str:
    """Cut an error and its causes off from the places they came through, which hold on to pixels.

    Returns:
        The traceback as Python prints it.
    """
    text = "".join(traceback.format_exception(error)).rstrip()
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        link = waiting.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            link.__traceback__ = None
            waiting += [link.__cause__, link.__context__]
    return text
