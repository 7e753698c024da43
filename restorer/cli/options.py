"""The restore command's options: names, types, help and groups; the defaults come from the options dataclasses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from restorer.cli import complete
from restorer.cli.boundary import VERBOSE, BoundaryCommand
from restorer.options import (
    BackgroundName,
    Disclosure,
    FaceChoice,
    GrainChoice,
    PrecisionChoice,
    RestoreOptions,
    Rotations,
)
from restorer.outputs import OutputOptions

DEFAULTS = RestoreOptions()
OUTPUT_DEFAULTS = OutputOptions()
FORMATS = ("auto", "jpeg", "png", "webp", "tiff", "avif", "heif", "jp2", "bmp", "ppm")
"""What ``--format`` takes, written out so that help needs no imaging library."""

_MESSAGES = "Messages"

Function = TypeVar("Function", bound=Callable[..., Any])


class Number(click.ParamType):  # type: ignore[type-arg, unused-ignore] # generic since click 8.4
    """A number, or one word that stands for None."""

    def __init__(self, kind: type[int] | type[float], word: str) -> None:
        self.kind, self.word = kind, word
        self.name = f"{'integer' if kind is int else 'number'}|{word}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | float | None:  # noqa: ANN401
        """Return the number, or None for the word."""
        if value is None or isinstance(value, int | float):
            return value
        if value.lower() == self.word:
            return None
        try:
            return self.kind(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor {self.word!r}.", param, ctx)


class FaceNumbers(click.ParamType):  # type: ignore[type-arg, unused-ignore] # generic since click 8.4
    """Numbers of faces, separated by commas."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...] | None:  # noqa: ANN401
        """Return the numbers, sorted, each once."""
        if value is None or isinstance(value, tuple):
            return value
        parts = [part.strip() for part in value.split(",")]
        if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
            self.fail(f"{value!r} is no list of face numbers such as 0,2.", param, ctx)
        return tuple(sorted({int(part) for part in parts}))


class GroupedOption(click.Option):
    """An option that stands under a heading of its own in the help."""

    def __init__(self, *args: Any, group: str, **settings: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(*args, **settings)
        self.group = group


class GroupedCommand(BoundaryCommand):
    """A command whose help shows its options by groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, in the order of definition."""
        groups: dict[str, list[tuple[str, str]]] = {}
        # click's own two, --version and --help, come last.
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        for option in sorted(options, key=lambda option: not isinstance(option, GroupedOption)):
            record = option.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(option, "group", _MESSAGES), []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


@dataclass(frozen=True)
class _Group:
    """Adds options under one heading."""

    heading: str

    def __call__(self, *names: str, **settings: Any) -> Callable[[Function], Function]:  # noqa: ANN401
        return click.option(*names, cls=GroupedOption, group=self.heading, **settings)


_input = _Group("Input")
_output = _Group("Output")
_faces = _Group("Faces")
_networks = _Group("Networks")
_talk = _Group(_MESSAGES)


def _set_verbose(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
    if value:
        ctx.meta[VERBOSE] = True
    return value


_OPTIONS = (
    _input("-r", "--recursive", is_flag=True, help="Look into folders within folders, too."),
    _input(
        "--files-from",
        metavar="FILE",
        shell_complete=complete.files,
        help="Read more names from FILE, one a line; - is standard input.",
    ),
    _input("-0", "--null", is_flag=True, help="Names in --files-from (default: standard input) end with a zero byte."),
    _output(
        "-o",
        "--output",
        default=str(OUTPUT_DEFAULTS.output),
        show_default=True,
        metavar="DIR|FILE|-",
        shell_complete=complete.files,
        help="Folder for the results; a file's name, for one photograph; or - for standard output.",
    ),
    _output(
        "--upscale",
        type=float,
        default=DEFAULTS.upscale,
        show_default=True,
        metavar="FACTOR",
        help="How much larger the result is.",
    ),
    _output(
        "--compare/--no-compare",
        default=OUTPUT_DEFAULTS.compare,
        help="Write a comparison, before | after, into DIR/comparisons (or beside FILE).  [default: with -o DIR]",
    ),
    _output("--save-faces", is_flag=True, help="Write every face, crop | restored, into DIR/faces."),
    _output(
        "--format",
        type=click.Choice(FORMATS, case_sensitive=False),
        default=OUTPUT_DEFAULTS.format,
        show_default=True,
        help="Format of the results; auto: the photograph's own, or PNG where that cannot hold them.",
    ),
    _output(
        "--quality",
        type=Number(int, "auto"),
        default="auto",
        show_default=True,
        help="Quality of JPEG, WebP and the like, 1-100; auto: 92, or the photograph's own where higher.",
    ),
    _output("--skip-existing", is_flag=True, help="Leave results that exist already, and go on."),
    _output(
        "--disclose",
        type=click.Choice(get_args(Disclosure)),
        default=DEFAULTS.disclose,
        show_default=True,
        help="Where a result says that it carries generated pixels; caption: beneath the comparison, too.",
    ),
    _output("--json", "as_json", is_flag=True, help="Write one JSON object per photograph to standard output."),
    _output("--dry-run", is_flag=True, help="Find and list the faces; write nothing."),
    _output(
        "--overview",
        metavar="FILE",
        shell_complete=complete.files,
        help="With --dry-run: draw the faces, numbered, into FILE.",
    ),
    _faces(
        "--strength",
        type=float,
        default=DEFAULTS.strength,
        show_default=True,
        help="1: the restored face, 0: the original; between, a blend.",
    ),
    _faces(
        "--faces",
        type=click.Choice(get_args(FaceChoice)),
        default=DEFAULTS.faces,
        show_default=True,
        help="Which faces are restored.",
    ),
    _faces(
        "--select",
        type=FaceNumbers(),
        default=DEFAULTS.select,
        metavar="N,N...",
        help="Restore the faces of these numbers and no others, counted from 0 as --dry-run lists and --overview draws "
        "them.",
    ),
    _faces(
        "--min-face",
        type=float,
        default=DEFAULTS.min_face,
        show_default=True,
        metavar="PIXELS",
        help="Leave smaller faces alone.",
    ),
    _faces(
        "--max-face",
        type=Number(float, "none"),
        default=DEFAULTS.max_face,
        metavar="PIXELS",
        help="Leave larger faces alone.  [default: none]",
    ),
    _faces(
        "--det-threshold",
        type=float,
        default=DEFAULTS.det_threshold,
        show_default=True,
        metavar="SCORE",
        help="Least confidence, 0-1, with which a face is found.",
    ),
    _faces(
        "--rotations",
        type=click.Choice(get_args(Rotations)),
        default=DEFAULTS.rotations,
        show_default=True,
        help="all: look for lying and upside-down faces in the whole photograph, too (slower).",
    ),
    _faces(
        "--colorize",
        is_flag=True,
        default=DEFAULTS.colorize,
        help="Let faces have the colours the model paints, in black-and-white photographs, too.",
    ),
    _faces("--restore-sharp", is_flag=True, help="Restore large faces that are sharp already, too."),
    _faces("--restore-drawn", is_flag=True, help="Restore large faces that look engraved or drawn, too."),
    _faces(
        "--grain",
        type=click.Choice(get_args(GrainChoice)),
        default=DEFAULTS.grain,
        show_default=True,
        help="auto: give faces the film grain around them.",
    ),
    _faces(
        "--identity",
        is_flag=True,
        default=DEFAULTS.identity,
        help="Measure how far faces drift from the person (degrees, in --json) and warn above 60; needs the weights "
        "arcface.",
    ),
    _faces("--aligned", is_flag=True, help="Photographs are square crops of single faces: restore them whole."),
    _networks(
        "--model",
        default=DEFAULTS.model,
        show_default=True,
        metavar="NAME|PATH",
        shell_complete=complete.face_models,
        help="Face model: auto (best at hand), a name from `restorer weights list`, or a checkpoint of your own.",
    ),
    _networks(
        "--bg-upsampler",
        type=click.Choice(get_args(BackgroundName)),
        default=DEFAULTS.bg_upsampler,
        show_default=True,
        help="Network that enlarges what is around the faces; none: plain Lanczos.",
    ),
    _networks(
        "--device",
        default=DEFAULTS.device,
        show_default=True,
        metavar="NAME",
        shell_complete=complete.devices,
        help="auto, cpu, cuda, cuda:N, several GPUs as cuda:0,1, mps, or intel, intel:N (by OpenVINO).",
    ),
    _networks(
        "--precision",
        type=click.Choice(get_args(PrecisionChoice)),
        default=DEFAULTS.precision,
        show_default=True,
        help="Arithmetic; auto: bf16 where the chip computes in it.",
    ),
    _networks(
        "--batch",
        type=Number(int, "auto"),
        default="auto",
        show_default=True,
        help="Faces at a time on a GPU.",
    ),
    _networks(
        "--tile",
        type=Number(int, "auto"),
        default="auto",
        show_default=True,
        help="Greatest side of the background network's tiles in pixels; 0: no tiles.",
    ),
    _networks("--offline", is_flag=True, default=DEFAULTS.offline, help="Never open a connection."),
    _networks(
        "--weights-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder searched for weights first, and where downloads go.",
    ),
    _talk("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
    _talk("-v", "--verbose", is_flag=True, callback=_set_verbose, help="Say what runs where; show tracebacks."),
)


def restore_options(function: Function) -> Function:
    """Add all options of the restore command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
