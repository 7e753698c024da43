"""``restore``: the main job, and nothing but the main job."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import click

from restorer import __version__
from restorer.cli import complete
from restorer.cli.boundary import main_of, results, write_line
from restorer.cli.download_bar import DownloadBar
from restorer.cli.listing import check_overview, draw_overview, faces_table
from restorer.cli.options import GroupedCommand, restore_options
from restorer.cli.progress import Talk
from restorer.errors import ExitCode, OutputError, PhotoError, RestorerError, UsageError
from restorer.inputs import STDIN, Input, drain, find_inputs, read_names
from restorer.options import RestoreOptions
from restorer.outputs import STDOUT, Job, OutputOptions, plan, result_folder

if TYPE_CHECKING:
    from restorer.api import Restorer

EPILOG = """\b
Examples:
  restore photo.jpg                     into restored/, with a comparison
  restore album -r -o out --upscale 4   a whole tree of folders
  restore photo.jpg -o better.png --strength 0.7
  curl -s URL | restore - -o - > better.jpg
  find . -name '*.jpg' -print0 | restore -0 -o out --json > report.jsonl
  restore group.jpg --dry-run --overview faces.png

\b
Exit codes: 0 all done; 1 a fault of this program; 2 wrong usage; 3 no
readable input; 4 output not writable; 5 weights missing or corrupt; 6 device
missing or out of memory; 7 some photographs failed; 130, 143 interrupted.

\b
Shell completion, in the shell's start file:
  bash   eval "$(_RESTORE_COMPLETE=bash_source restore)"
  zsh    eval "$(_RESTORE_COMPLETE=zsh_source restore)"
  fish   _RESTORE_COMPLETE=fish_source restore | source
"""


@dataclass(frozen=True)
class Request:
    """What a command line asks for besides options of the restoration and of the output."""

    names: tuple[str, ...]
    recursive: bool
    files_from: str | None
    null: bool
    as_json: bool
    dry_run: bool
    overview: str | None
    quiet: bool
    verbose: bool


@click.command("restore", cls=GroupedCommand, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", metavar="[PHOTO|FOLDER|-]...", nargs=-1, shell_complete=complete.files)
@restore_options
@click.version_option(__version__, prog_name="restorer")
def restore_command(**params: Any) -> None:  # noqa: ANN401 - click's values, sorted into dataclasses at once
    """Restore the faces in photographs with GFP-GAN.

    Finds every face, restores it, pastes it back without a seam, and enlarges the rest. Originals are never written to.
    """
    options: RestoreOptions = _chosen(RestoreOptions, params)
    outputs: OutputOptions = _chosen(OutputOptions, params)
    request: Request = _chosen(Request, params)
    _check(request, options, outputs)
    with results() as stdout:
        code = _run(request, options, outputs, stdout)
    sys.exit(code)


def main() -> NoReturn:
    """Entry of the ``restore`` script."""
    main_of(restore_command, "restore")


def _chosen(kind: type[Any], params: dict[str, Any]) -> Any:  # noqa: ANN401 - one of three dataclasses
    return kind(**{field.name: params[field.name] for field in fields(kind)})


def _check(request: Request, options: RestoreOptions, outputs: OutputOptions) -> None:
    """Refuse options that do not go together, before anything is read."""
    to_stdout = str(outputs.output) == STDOUT
    if to_stdout and request.as_json:
        raise UsageError("-o - and --json both write to standard output: give -o a folder or file.")
    if to_stdout and not request.dry_run and sys.stdout is not None and sys.stdout.isatty():
        raise UsageError(
            "-o - would write a picture's bytes to the terminal: redirect it, as in `restore ... > out.jpg`."
        )
    if "\0" in (request.overview or ""):
        raise UsageError("--overview holds a zero byte, and no file's name does.")
    if request.overview is not None and not request.dry_run:
        raise UsageError("--overview goes with --dry-run.")
    if options.disclose == "caption" and (outputs.compare is False or to_stdout):
        raise UsageError("--disclose caption stands beneath the comparison, and none would be written.")
    if request.files_from == STDIN and STDIN in request.names:
        raise UsageError("Standard input cannot hold both a photograph (-) and names (--files-from -).")


def _run(request: Request, options: RestoreOptions, outputs: OutputOptions, stdout: BinaryIO) -> ExitCode:
    jobs = _jobs(request, options, outputs)
    # NumPy multiplies no large matrices here: more threads of its BLAS would only wait for work, and busily
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with Talk(len(jobs), quiet=request.quiet, verbose=request.verbose) as talk, DownloadBar() as bar:
        from restorer.runtime.allocator import share_arenas
        from restorer.runtime.early import begin_to_open
        from restorer.weights import WeightStore

        share_arenas()
        store = WeightStore(weights_dir=options.weights_dir, offline=options.offline, notify=talk.note, progress=bar)
        early = begin_to_open(store, options) if options.strength and not request.dry_run else None
        from restorer.api import Restorer  # most of the program, loaded meanwhile

        restorer = Restorer(options, store=store, notify=talk.note, describe=talk.detail, tiles=talk.tiles, early=early)
        code = _work(restorer, request, jobs, talk, stdout)
        talk.finish()
    return code


def _jobs(request: Request, options: RestoreOptions, outputs: OutputOptions) -> list[Job]:
    """Find the photographs, and name everything that will be written."""
    inputs = _inputs(request, outputs)
    if options.select is not None and len(inputs) != 1:
        raise UsageError(f"--select names faces of one photograph, and there are {len(inputs)}.")
    if request.dry_run:
        jobs = [Job(item) for item in inputs]
        if request.overview is not None:
            if len(jobs) != 1:
                raise UsageError(f"--overview draws the faces of one photograph, and there are {len(jobs)}.")
            check_overview(jobs[0], Path(request.overview))
        return jobs
    jobs = plan(inputs, outputs)
    if options.disclose == "caption" and not any(job.comparison for job in jobs):
        raise UsageError("--disclose caption stands beneath the comparison: give --compare, too.")
    return jobs


def _inputs(request: Request, outputs: OutputOptions) -> list[Input]:
    files_from = request.files_from
    if files_from is None and request.null:
        if request.names:
            raise UsageError("-0 says how names in --files-from end: give --files-from, too.")
        files_from = STDIN
    if not request.names and files_from is None:
        raise click.UsageError("Name a photograph, a folder, or - for standard input.")
    exclude = result_folder(outputs.output)
    stdin = _stdin(drain) if STDIN in request.names else None
    names = request.names
    inputs = find_inputs(names, recursive=request.recursive, exclude=exclude, stdin=stdin) if names else []
    if files_from is not None:
        listed = read_names(_list(files_from), null=request.null)
        if STDIN in listed:
            raise UsageError(f"{files_from} names standard input (-), which only the command line can.")
        if listed:
            inputs += find_inputs(listed, recursive=request.recursive, exclude=exclude, patterns=False)
        elif not inputs:
            raise PhotoError(f"There are no photographs to restore: {files_from} holds no names.")
    return list(dict.fromkeys(inputs))


def _list(files_from: str) -> bytes:
    if files_from == STDIN:
        return _stdin(lambda stream: stream.read())
    try:
        return Path(files_from).read_bytes()
    except OSError as error:
        raise PhotoError(f"Cannot read the names in {files_from}: {error.strerror or error}.") from error


def _stdin(read: Callable[[BinaryIO], bytes]) -> bytes:
    try:
        if sys.stdin is not None:
            return read(sys.stdin.buffer)
        reason = "it is closed"
    except OSError as error:
        reason = error.strerror or str(error)
    raise PhotoError(f"Cannot read standard input: {reason}.")


def _work(restorer: Restorer, request: Request, jobs: Sequence[Job], talk: Talk, stdout: BinaryIO) -> ExitCode:
    """Work the jobs off and show every report; return the exit code."""
    run = restorer.run(jobs, dry_run=request.dry_run, stdout=stdout, advance=talk.faces)
    with closing(run) as reports:
        try:
            for report in reports:
                if isinstance(report.error, OutputError) and isinstance(report.error.__cause__, BrokenPipeError):
                    raise report.error.__cause__
                talk.photo(report)
                if request.as_json:
                    write_line(stdout, report.to_json())
                elif request.dry_run:
                    write_line(stdout, faces_table(report))
                if request.overview is not None and report.size_in is not None:
                    draw_overview(jobs[0], report, Path(request.overview))
        except RestorerError as error:
            if not talk.has_told(error):
                raise
            return error.exit_code
    return talk.summary.exit_code
