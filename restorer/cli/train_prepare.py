"""``restorer train prepare``: from photographs to aligned faces that training reads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from restorer.cli.boundary import say
from restorer.cli.degrade import counting
from restorer.errors import ExitCode

if TYPE_CHECKING:
    from restorer.facesets.prepare import PrepareRequest, Tally
    from restorer.pipeline.networks import Find

_PATH = click.Path(path_type=Path)


@click.command("prepare")
@click.argument("photographs", nargs=-1, required=True, type=_PATH)
@click.option("-o", "--output", required=True, type=_PATH, help="The .zip archive (or folder) to write.")
@click.option(
    "--validation",
    type=float,
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Share of the people whose faces go to a second set beside it, OUTPUT-val.",
)
@click.option("--size", type=int, default=512, show_default=True, help="Side of the faces in pixels.")
@click.option("--min-size", type=float, default=256, show_default=True, help="Least photograph pixels across a face.")
@click.option(
    "--min-sharpness", type=float, default=1.2, show_default=True, help="1.5: a sharp portrait; 1.1: blurred."
)
@click.option("--min-cover", type=float, default=0.85, show_default=True, help="Least share within the photograph.")
@click.option("--max-misfit", type=float, default=0.25, show_default=True, help="Greater values let profiles in.")
@click.option("--min-score", type=float, default=0.9, show_default=True, help="The detector's least confidence.")
@click.option("--detector", default="auto", show_default=True, metavar="NAME|PATH", help="Finds the faces.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--offline", is_flag=True, help="Open no connection.")
@click.option("--weights-dir", type=_PATH, help="Where weight files are searched first.")
def prepare_command(
    photographs: tuple[Path, ...],
    output: Path,
    validation: float,
    size: int,
    min_size: float,
    min_sharpness: float,
    min_cover: float,
    max_misfit: float,
    min_score: float,
    detector: str,
    device: str,
    offline: bool,
    weights_dir: Path | None,
) -> None:
    """Cut the faces out of PHOTOGRAPHS (folders, zips, files), aligned for training.

    Faces are found and aligned as `restore` does it. Kept are those that are large, sharp and whole; the manifest says
    how each measures, whom it shows, and where its five points, eyes and mouth lie. Whom a photograph shows is said by
    a manifest.json (rows with file and person) beside the photographs, else by the folder they lie in:
    `photos/anna/1.jpg` shows anna.
    """
    from restorer.facesets.judge import Criteria
    from restorer.facesets.prepare import PrepareRequest, prepare

    criteria = Criteria(min_size, min_sharpness, min_cover, max_misfit, min_score)
    request = PrepareRequest(photographs, output, size, criteria, validation)
    with counting("photograph") as advance:
        tally = prepare(request, open_find(detector, device, offline, weights_dir), say, advance)
    for line in _summary(request, tally):
        say(line)
    if tally.unreadable:
        sys.exit(ExitCode.SOME_FAILED)


def open_find(detector: str, device: str, offline: bool, weights_dir: Path | None) -> Find:
    """Open the detector as `restore` does."""
    from restorer.options import RestoreOptions
    from restorer.pipeline.networks import OpenedNetworks

    options = RestoreOptions(device=device, offline=offline, weights_dir=weights_dir)
    return OpenedNetworks(options, detector=detector, notify=say).find()


def _summary(request: PrepareRequest, tally: Tally) -> list[str]:
    lines = [f"{set_}: {_faces(count)} of {_people(len(tally.people[set_]))}" for set_, count in tally.kept.items()]
    if request.validation and request.validation_output not in tally.kept:
        lines.append("no face was held out for validation: nobody's turn fell there, or none of theirs will do")
    return [*lines, f"left out: {tally.reasons}"] if tally.reasons else lines


def _faces(count: int) -> str:
    return f"{count} face{'s' if count != 1 else ''}"


def _people(count: int) -> str:
    return f"{count} {'people' if count != 1 else 'person'}"
