"""``restorer train prior``: StyleGAN2 by itself, to be the prior of a GFP-GAN."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from restorer.cli.boundary import say
from restorer.cli.session import run_options, train

if TYPE_CHECKING:
    from restorer.training.ending import Clock


@click.command("prior")
@click.argument("faces", type=click.Path(path_type=Path))
@click.option("--export", type=click.Path(path_type=Path), help="Write the averaged prior to this .safetensors file.")
@run_options("prior-lite")
def prior(
    faces: Path, export: Path | None, run: Path, recipe: Path, changes: tuple[str, ...], clock: Clock, device: str
) -> None:
    """Train the prior of a GFP-GAN alone on FACES, a zip or folder of aligned faces with a manifest.json.

    It learns to draw faces from nothing; a restoration recipe takes it with prior = "RUN" (or the exported file).
    Continues where it stopped when the run's folder holds a saved state. Several GPUs: torchrun --nproc-per-node N -m
    restorer train prior ... --device cuda.
    """
    from restorer.training.dataset import load_faces
    from restorer.training.prior import PriorTrainer
    from restorer.training.prior_settings import PriorSettings
    from restorer.training.prior_weights import export_prior
    from restorer.training.processes import join_processes
    from restorer.training.settings import load_recipe
    from restorer.training.state import STATE

    settings = load_recipe(recipe, PriorSettings, changes)
    with join_processes(device) as processes:
        trainer = PriorTrainer(settings, load_faces(faces, settings.sizes.out_size), run, processes)
        if (run / STATE).exists():
            trainer.resume()
        train(trainer, clock)
        if export and processes.first:
            images = export_prior(run, export)
            say(f"{export}: {export.stat().st_size / 1e6:.1f} MB after {images} images")
