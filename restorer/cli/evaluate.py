"""``restorer evaluate``: judge restorations by the papers' metrics."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, get_args

import click

from restorer.cli.boundary import VERBOSE, plain, results, say, write_line
from restorer.cli.download_bar import DownloadBar
from restorer.errors import ExitCode, UsageError
from restorer.options import PrecisionChoice, RestoreOptions

if TYPE_CHECKING:
    from restorer.evaluation.inputs import InputMaker
    from restorer.evaluation.methods import Method
    from restorer.evaluation.metric import Tools
    from restorer.evaluation.metrics import Metrics
    from restorer.evaluation.pictures import PictureSet
    from restorer.evaluation.runner import Advance
    from restorer.weights import WeightStore

_ARGUMENTS = "restorer.arguments"
GPU_BATCH = 8
"""Pictures at a time on a GPU unless asked otherwise."""

EPILOG = """\b
Examples:
  restorer evaluate --truth sharp --degrade paper --model lite -o report
  restorer evaluate --truth sharp --degrade paper --sr 4 --model lite
  restorer evaluate --truth sharp --restored theirs --against ours
  restorer evaluate --restored theirs --reference faces.zip --metrics niqe,fid

\b
Exit codes: 0 all judged; 2 wrong usage, or names or sizes that do not match;
3 nothing readable; 4 report not writable; 5 weights missing or corrupt; 6
device missing; 7 judged, but some pictures are broken.
"""


@dataclass(frozen=True)
class Request:
    """What a command line asks for."""

    restored: tuple[str, ...]
    truth: Path | None
    reference: Path | None
    source: Path | None
    model: tuple[str, ...]
    degrade: str | None
    seed: int
    sr: int | None
    against: str | None
    output: Path
    metrics: str | None
    detector: str
    device: str
    precision: PrecisionChoice
    batch: int | None
    offline: bool
    weights_dir: Path | None
    quiet: bool


class RecordedCommand(click.Command):
    """A command that remembers its arguments as they were typed."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the arguments for the report."""
        ctx.meta[_ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)


def _set_verbose(ctx: click.Context, parameter: click.Parameter, value: bool) -> bool:
    ctx.meta[VERBOSE] = value
    return value


_SOURCE = click.Path(path_type=Path)


@click.command("evaluate", cls=RecordedCommand, epilog=EPILOG)
@click.option(
    "--restored",
    multiple=True,
    metavar="[NAME=]PICTURES",
    help="What some method made: a folder or zip of pictures; more than one may be given.",
)
@click.option("--truth", type=_SOURCE, metavar="PICTURES", help="What the pictures should have been, by name.")
@click.option("--reference", type=_SOURCE, metavar="PICTURES|NPZ", help="Good pictures for FID, or their statistics.")
@click.option("--model", multiple=True, metavar="[NAME=]MODEL", help="Restore the input first with this face model.")
@click.option("--input", "source", type=_SOURCE, metavar="PICTURES", help="Aligned faces for --model to restore.")
@click.option("--degrade", metavar="PRESET", help="Make the input from the truth: paper or released.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the degradation.")
@click.option("--sr", type=click.IntRange(2, 16), metavar="N", help="Super-resolution: reduce the input N times first.")
@click.option("--against", metavar="NAME|PICTURES", help="Compare all methods with this one, picture by picture.")
@click.option("--metrics", metavar="NAME,...", help="Measure only these.  [default: all that can be had]")
@click.option("--detector", default="auto", show_default=True, metavar="NAME|PATH", help="For landmark distances.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("report"),
    show_default=True,
    help="Folder for the report.",
)
@click.option(
    "--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda, cuda:N, mps or intel."
)
@click.option("--precision", type=click.Choice(get_args(PrecisionChoice)), default="auto", show_default=True)
@click.option("--batch", type=click.IntRange(1), help=f"Pictures at a time.  [default: 1; {GPU_BATCH} on a GPU]")
@click.option("--offline", is_flag=True, help="Never open a connection.")
@click.option("--weights-dir", type=click.Path(path_type=Path, file_okay=False), help="Folder searched for weights.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but results and errors.")
@click.option("-v", "--verbose", is_flag=True, expose_value=False, callback=_set_verbose, help="Show tracebacks.")
@click.pass_context
def evaluate_command(ctx: click.Context, /, **params: Any) -> None:  # noqa: ANN401 - click's values, sorted at once
    """Judge restored faces by the papers' metrics.

    PICTURES is a folder or zip of pictures. Pictures of one relative name belong together, whatever their suffix.
    Metrics: psnr, ssim, fsim, haarpsi, lpips, deg (identity), lmd (landmarks), all with --truth; niqe; fid, with
    --reference. What needs weights that cannot be had is skipped, and said so.

    Prints a table; writes report.json, scores.csv, summary.csv, distributions.png and index.html.
    """
    request = Request(**{item.name: params[item.name] for item in fields(Request)})
    with results() as stdout:
        code = _evaluate(request, "restorer evaluate " + shlex.join(ctx.meta[_ARGUMENTS]), stdout)
    sys.exit(code)


@dataclass(frozen=True)
class _Plan:
    """All that is known before any work."""

    make: InputMaker
    methods: list[Method]
    stems: list[str]
    against: str | None


def _evaluate(request: Request, command: str, stdout: BinaryIO) -> ExitCode:
    """Judge, write the report, and print the table."""
    from restorer.evaluation.report import write_report
    from restorer.evaluation.runner import Runner
    from restorer.evaluation.table import summary_text
    from restorer.weights import WeightStore

    note: Callable[[str], None] = (lambda _: None) if request.quiet else say
    _check(request)
    with DownloadBar() as bar:
        store = WeightStore(weights_dir=request.weights_dir, offline=request.offline, notify=note, progress=bar)
        plan = _plan(request, store, note)
        metrics = _metrics(request, store, note)
    with _progress(request.quiet) as advance:
        reference, kept, failures, count = _reference(request, metrics, advance)
        runner = Runner(plan.make, plan.methods, metrics, _batch(request), advance)
        result = runner.run(plan.stems, against=plan.against, reference=reference)
    result = replace(result, failures=[*result.failures, *failures], reference=count)
    for failure in result.failures:
        say(f"{failure.stem} was not judged: {failure.reason}")
    settings = {item.name: _json_value(getattr(request, item.name)) for item in fields(request)}
    write_report(
        request.output,
        result,
        runner,
        command=command,
        settings=settings,
        reference=reference if kept else None,
        notify=note,
    )
    note(f"The report is {request.output / 'index.html'}")
    write_line(stdout, plain(summary_text(result)))
    return ExitCode.SOME_FAILED if result.failures else ExitCode.OK


def _json_value(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _check(request: Request) -> None:
    """Refuse options that do not go together, before anything is read."""
    if request.degrade is not None and request.source is not None:
        raise UsageError("--degrade makes the input and --input reads it: give one of them.")
    if (request.degrade is not None or request.sr is not None) and request.truth is None:
        raise UsageError("--degrade and --sr make the input from the truth: give --truth, too.")
    given = request.source is not None or request.degrade is not None or request.sr is not None
    if request.model and not given:
        raise UsageError("--model needs something to restore: give --input, or --truth with --degrade or --sr.")
    if not request.restored and not given:
        raise UsageError("There is nothing to judge: give --restored, or --model with --input or --degrade.")
    from restorer.evaluation.inputs import DEGRADATIONS

    if request.degrade not in (None, *DEGRADATIONS):
        raise UsageError(f"--degrade {request.degrade} is unknown: choose one of {', '.join(DEGRADATIONS)}.")


def _named(text: str) -> tuple[str, str]:
    """Split NAME=REST; without a name, or where the whole is a path, the name is the path's last part."""
    name, equals, rest = text.partition("=")
    if equals and name and rest and not Path(text).exists():
        return name, rest
    path = Path(text)
    return (path.stem if path.is_file() else path.resolve().name) or text, text


def _plan(request: Request, store: WeightStore, note: Callable[[str], None]) -> _Plan:
    from restorer.evaluation.inputs import InputMaker
    from restorer.evaluation.methods import BICUBIC, INPUT, bicubic_method, folder_method, input_method, model_method
    from restorer.evaluation.pictures import check_names, check_sizes, open_pictures
    from restorer.pipeline.networks import OpenedNetworks

    truth = None if request.truth is None else open_pictures(request.truth)
    source = None if request.source is None else open_pictures(request.source)
    folders = [(name, open_pictures(Path(path))) for name, path in map(_named, request.restored)]
    models = [_named(text) if "=" in text else (_model_name(text), text) for text in request.model]
    against = request.against
    if against is not None and against not in (INPUT, BICUBIC, *(name for name, _ in (*folders, *models))):
        against, path = _named(against)
        folders.append((against, open_pictures(Path(path))))
    sets = [item for item in (truth, *(found for _, found in folders), source) if item is not None]
    _check_output(request.output, sets)
    stems = check_names(sets)
    factor = request.sr or 1
    check_sizes(stems, sets, enlarged=source if truth is not None else None, factor=factor)

    make = InputMaker(
        None if truth is None else truth.read,
        None if source is None else source.read,
        request.degrade,
        request.seed,
        factor,
    )
    methods = []
    whole = source is not None and (truth is None or source.size(stems[0]) == truth.size(stems[0]))
    if request.degrade is not None or whole:
        methods.append(input_method())
    if factor > 1:
        methods.append(bicubic_method(factor))
    methods += [folder_method(name, str(found.path), found.read) for name, found in folders]
    for name, model in models:
        options = RestoreOptions(
            model=model,
            device=request.device,
            precision=request.precision,
            batch=_batch(request),
            offline=request.offline,
            weights_dir=request.weights_dir,
        )
        networks = OpenedNetworks(options, store=store, notify=note)
        networks.face_restorer()  # what is missing is found before the work
        methods.append(model_method(name, networks))
    names = [method.name for method in methods]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"Two methods are called {twice}: name one of them, as in NAME={twice}.")
    if against is not None and (against not in names or len(names) < 2):
        raise UsageError(f"There is nothing to compare with {against}: the methods are {', '.join(names)}.")
    return _Plan(make, methods, stems, against)


def _model_name(model: str) -> str:
    return Path(model).stem if Path(model).suffix else model


def _check_output(output: Path, sets: Sequence[PictureSet]) -> None:
    """Refuse a report among the pictures, where it would be taken for some of them."""
    for found in sets:
        if found.path.is_dir() and output.resolve().is_relative_to(found.path.resolve()):
            raise UsageError(f"The report {output} would lie among the pictures of {found.path}: choose another -o.")


def _metrics(request: Request, store: WeightStore, note: Callable[[str], None]) -> Metrics:
    from restorer.evaluation.metric import Tools
    from restorer.evaluation.metrics import METRICS, open_metrics

    tools: Tools = Tools(store, request.device, request.precision, request.detector, request.offline)
    named = None if request.metrics is None else [name.strip().lower() for name in request.metrics.split(",")]
    metrics = open_metrics(tools, named, truth=request.truth is not None, reference=request.reference is not None)
    for name, reason in metrics.skipped.items():
        note(f"{METRICS[name].label} is skipped: {reason}.")
    return metrics


def _reference(request: Request, metrics: Metrics, advance: Advance) -> tuple[Any, bool, list[Any], int | None]:
    """Return FID's reference, whether it was measured here, its broken pictures, and the count of the others."""
    from restorer.evaluation.fid import Gaussian
    from restorer.evaluation.pictures import open_pictures
    from restorer.evaluation.runner import reference_of

    if request.reference is None or metrics.features is None:
        return None, False, [], None
    if request.reference.suffix.lower() == ".npz":
        return Gaussian.load(request.reference), False, [], None
    gaussian, count, failures = reference_of(open_pictures(request.reference), metrics, _batch(request), advance)
    return gaussian, True, failures, count


def _batch(request: Request) -> int:
    if request.batch is not None:
        return request.batch
    from restorer.runtime.device import pick_device

    return 1 if pick_device(request.device) == "cpu" else GPU_BATCH


@contextmanager
def _progress(quiet: bool) -> Iterator[Advance]:
    """Show a bar on a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from tqdm import tqdm

    with tqdm(unit="picture", leave=False, file=sys.stderr, dynamic_ncols=True) as bar:

        def advance(done: int, total: int) -> None:
            if total != bar.total or done < bar.n:
                bar.reset(total)
            bar.update(done - bar.n)

        yield advance
