"""The command's edges: errors to messages and exit codes, signals, and standard output that carries results only."""

from __future__ import annotations

import atexit
import errno
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, BinaryIO, NoReturn, cast

import click

from restorer.errors import ExitCode, OutputError, RestorerError

VERBOSE = "restorer.verbose"
"""Key in click's ``Context.meta``: true after ``-v``."""


class Terminated(BaseException):
    """Thrown in the main thread when the process is asked to end (SIGTERM)."""


class BoundaryCommand(click.Command):
    """A command whose errors end in one sentence on standard error and the documented exit code."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own
        """Run the command inside the boundary."""
        with boundary(ctx):
            return super().invoke(ctx)


@contextmanager
def boundary(ctx: click.Context) -> Iterator[None]:
    """Turn whatever is raised inside into a message and an exit code."""
    previous = _handle_sigterm()
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except RestorerError as error:
        _end(ctx, str(error), error.exit_code, error)
    except KeyboardInterrupt as error:
        _end(ctx, "interrupted; every file that was written is whole.", ExitCode.SIGINT, error)
    except Terminated as error:
        _end(ctx, "terminated; every file that was written is whole.", ExitCode.SIGTERM, error)
    except BrokenPipeError:
        # The reader has had enough, as with `| head`: nobody is there to be told.
        _silence()
        sys.exit(ExitCode.OUTPUT)
    except Exception as error:
        sentence = f"a fault of this program, please report it ({type(error).__name__}: {error})"
        _end(ctx, sentence + ("" if ctx.meta.get(VERBOSE) else "; -v shows where."), ExitCode.INTERNAL, error)
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


def main_of(command: click.Command, name: str) -> NoReturn:
    """Run a command as a process' main program."""
    _fill_closed_descriptors()
    try:
        command.main(prog_name=name)
    except KeyboardInterrupt:  # outside of any command: while arguments were read
        end_process(ExitCode.SIGINT)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            end_process(end.code or 0)
        raise
    raise AssertionError("click ends the process itself")


def end_process(code: int) -> NoReturn:
    """End the process; where nothing is left to do, at once: taking networks apart takes longer than a photograph.

    Nor is a network waited for that is still being opened for faces that were not there. Where any other thread is at
    work, Python's own way waits for it.
    """
    # it is loaded where it was used
    opening = getattr(sys.modules.get("restorer.runtime.early"), "OPENING", "")
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if any(not thread.daemon and not (opening and thread.name.startswith(opening)) for thread in others):
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # a reader gone, closed, never there: told of by now
            stream.flush()
    atexit._run_exitfuncs()  # what packages have left to do when Python ends
    os._exit(code)


def say(message: str) -> None:
    """Write a line to standard error; see :func:`write_line` for errors."""
    with _writing("standard error"):
        click.echo(plain(message), err=True)


def plain(text: str) -> str:
    """Return text that is safe to show: control characters and undecodable bytes of file names are escaped."""
    return "".join(char if char.isprintable() or char in "\n\t" else _escaped(char) for char in text)


def one_line(text: str) -> str:
    """Return text in which line breaks, as names of files may hold them, are escaped."""
    return text.replace("\n", "\\n").replace("\t", "\\t")


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _end(ctx: click.Context, sentence: str, code: ExitCode, error: BaseException) -> NoReturn:
    try:
        if ctx.meta.get(VERBOSE) and isinstance(error, Exception):
            say("".join(traceback.format_exception(error)).rstrip())
        say(f"{ctx.find_root().info_name}: {sentence}")
    except (BrokenPipeError, OutputError):
        _silence()
    sys.exit(code)


def _silence() -> None:
    """Let nothing more be written to a pipe that nobody reads, not even when the interpreter ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(nowhere, stream.fileno())


def _fill_closed_descriptors() -> None:
    """Let standard descriptors that came closed lead nowhere: a photograph's file must not become number 1 or 2."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, so this one
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - as long as the process


def _handle_sigterm() -> Any:  # noqa: ANN401 - whatever signal.signal returns
    """Let SIGTERM end the run as Ctrl-C does; return the handler before, or None outside of the main thread."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    try:
        return signal.signal(signal.SIGTERM, terminate)
    except ValueError:
        return None


# Standard output


@contextmanager
def results() -> Iterator[BinaryIO]:
    """Give the real standard output for results, and send all else that is written there to standard error.

    This holds for Python's ``print`` and, where standard output is the process' own, for libraries written in C: file
    descriptor 1 becomes a copy of 2, and stays one, because the C library writes out its buffer only when the process
    ends.
    """
    if _is_own_stdout():
        sys.stdout.flush()
        stream: BinaryIO = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        owned = True
    else:
        stand_in: Any = _ClosedStream() if sys.stdout is None else io.BytesIO()
        stream = cast("BinaryIO", getattr(sys.stdout, "buffer", None) or stand_in)
        owned = False
    before, sys.stdout = sys.stdout, sys.stderr
    try:
        yield stream
        with _writing():
            stream.flush()
    finally:
        sys.stdout = before
        if owned:
            # Closing writes out what is left, and fails again where writing has failed before.
            with suppress(OSError):
                stream.close()


def write_line(stream: BinaryIO, text: str) -> None:
    """Write a line of results, at once.

    Raises:
        OutputError: It cannot be written, as on a full disk.
        BrokenPipeError: Nobody reads any more.
    """
    with _writing():
        stream.write(text.encode("utf-8", "surrogateescape") + b"\n")
        stream.flush()


def print_result(text: object) -> None:
    """Write a line of results to standard output as it is, for commands in which no library is at work; see above."""
    with _writing():
        click.echo(text)


@contextmanager
def _writing(where: str = "standard output") -> Iterator[None]:
    """Say of what fails inside where it was to go."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"Cannot write to {where}: {error.strerror or error}.") from error


class _ClosedStream(io.RawIOBase):
    """Stands for a standard output that was closed before this process began."""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raise OSError(errno.EBADF, "it is closed")


def _is_own_stdout() -> bool:
    try:
        return sys.stdout is not None and sys.stdout.fileno() == 1
    except (OSError, ValueError, AttributeError):
        return False
