"""``restorer train``: the project's own training, from aligned faces to a file the pipeline loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from restorer.cli.boundary import say
from restorer.cli.session import run_options, train
from restorer.cli.train_prepare import prepare_command
from restorer.cli.train_prior import prior
from restorer.errors import UsageError

if TYPE_CHECKING:
    from restorer.training.ending import Clock


@click.group("train")
def train_group() -> None:
    """Train the networks this tool uses, on faces of your own."""


train_group.add_command(prepare_command)
train_group.add_command(prior)


@train_group.command("restoration")
@click.argument("faces", type=click.Path(path_type=Path))
@click.option("--from", "start", type=click.Path(path_type=Path), help="Begin with another run, or a file of weights.")
@click.option("--prior", type=click.Path(path_type=Path), help="A trained prior to begin with: a run or its export.")
@run_options("lite")
def restoration(
    faces: Path,
    run: Path,
    start: Path | None,
    prior: Path | None,
    recipe: Path,
    changes: tuple[str, ...],
    clock: Clock,
    device: str,
) -> None:
    """Train a GFP-GAN on FACES, a zip or folder of aligned faces with a manifest.json.

    Continues where it stopped when the run's folder holds a saved state. Several GPUs: torchrun --nproc-per-node N -m
    restorer train restoration ... --device cuda.
    """
    from restorer.training.dataset import load_faces
    from restorer.training.processes import join_processes
    from restorer.training.settings import RestorationSettings, load_recipe
    from restorer.training.state import STATE
    from restorer.training.trainer import RestorationTrainer

    if prior:
        changes = (*changes, f"prior={json.dumps(str(prior), ensure_ascii=False)}")
    settings = load_recipe(recipe, RestorationSettings, changes)
    begun = bool(start or settings.prior or (run / STATE).exists())
    if settings.sizes and not settings.prior_rate and not begun:
        raise UsageError(
            "The recipe keeps the prior as it is (prior_rate 0), so it needs one that is trained: give --prior RUN "
            "(from `restorer train prior`) or --from RUN or FILE, or train it along with --set prior_rate=1."
        )
    with join_processes(device) as processes:
        trainer = RestorationTrainer(settings, load_faces(faces, settings.out_size), run, processes)
        if (run / STATE).exists():
            trainer.resume()
        elif start:
            trainer.start_from(start)
        elif settings.prior:
            trainer.start_from_prior(Path(settings.prior))
        train(trainer, clock)


@train_group.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The .safetensors file to write.")
@click.option("--blend", type=click.Path(path_type=Path), help="A run that RUN began from, to mix its weights in.")
@click.option("--share", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="RUN's share of a mixture.")
def export(run: Path, output: Path, blend: Path | None, share: float) -> None:
    """Write the averaged network of RUN as a half-precision file that `--model FILE` loads."""
    from restorer.training.export import export_run

    images = export_run(run, output, blend=blend, share=share)
    say(f"{output}: {output.stat().st_size / 1e6:.1f} MB after {images} images")


@train_group.command("plot")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The PNG file to write.  [default: in RUN]")
def plot(run: Path, output: Path | None) -> None:
    """Draw the losses of RUN, as training does whenever it saves."""
    from restorer.training.loop import LOG, PLOT
    from restorer.training.plot import draw_plot

    output = output or run / PLOT
    found = draw_plot(run / LOG, output)
    say(f"{output}: at the end " + ", ".join(f"{name} {curve.mean[-1]:.4g}" for name, curve in found.items()))


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@train_group.command("detector")
@click.argument("archives", nargs=-1, required=True, type=_FILE)
@click.option("--teacher", required=True, type=_FILE, help="RetinaFace weights to learn from.")
@click.option("--from", "start", type=_FILE, help="A detector's file to begin with, rather than random weights.")
@click.option("--export", type=click.Path(path_type=Path), help="Write the averaged network to this .safetensors file.")
@run_options("detector-lite")
def detector(
    archives: tuple[Path, ...],
    run: Path,
    teacher: Path,
    start: Path | None,
    recipe: Path,
    changes: tuple[str, ...],
    clock: Clock,
    device: str,
    export: Path | None,
) -> None:
    """Train a face detector on ARCHIVES, zips of photographs, by distillation from a teacher.

    Continues where it stopped when the run's folder holds a saved state.
    """
    from restorer.training.detector import DetectorSettings, export_detector, open_detector_run
    from restorer.training.processes import join_processes
    from restorer.training.settings import load_recipe

    settings = load_recipe(recipe, DetectorSettings, changes)
    with join_processes(device) as processes:
        trainer = open_detector_run(settings, list(archives), teacher, run, processes, say, start)
        train(trainer, clock)
        first = processes.first
    if export and first:
        images = export_detector(run, export, settings)
        say(f"{export}: {export.stat().st_size / 1e6:.1f} MB after {images} images")
