"""``restorer train``: the project's own training, from aligned faces to a file the pipeline loads."""

from __future__ import annotations

import math
from pathlib import Path

import click

RECIPES = Path(__file__).resolve().parent.parent / "training" / "recipes"


def _recipe(name: str) -> Path:
    """Return the recipe's file: a path, or the name of a recipe that comes with the package."""
    path = Path(name)
    return path if path.suffix == ".toml" else RECIPES / f"{name}.toml"


@click.group("train")
def train_group() -> None:
    """Train the networks this tool uses, on faces of your own."""


@train_group.command("restoration")
@click.argument("faces", type=click.Path(path_type=Path))
@click.option("-o", "--output", "run", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--from", "start", type=click.Path(path_type=Path), help="Begin with the networks of another run.")
@click.option("--recipe", default="lite", show_default=True, help="A recipe's name or TOML file.")
@click.option("--minutes", type=float, default=math.inf, help="Save and end cleanly after so many minutes.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(1), help="Threads on the CPU.  [default: all]")
def restoration(
    faces: Path, run: Path, start: Path | None, recipe: str, minutes: float, device: str, threads: int | None
) -> None:
    """Train a GFP-GAN on FACES, a zip or folder of aligned faces with a manifest.json.

    Continues where it stopped when the run's folder holds a saved state.
    """
    import torch
    from tqdm import tqdm

    from restorer.training.dataset import load_faces
    from restorer.training.settings import RestorationSettings, load_recipe
    from restorer.training.trainer import STATE, RestorationTrainer

    if threads:
        torch.set_num_threads(threads)
    settings = load_recipe(_recipe(recipe), RestorationSettings)
    trainer = RestorationTrainer(settings, load_faces(faces, settings.out_size), run, device)
    if (run / STATE).exists():
        trainer.resume()
    elif start:
        trainer.start_from(start)
    with tqdm(total=settings.images, initial=trainer.images, unit="image") as bar:

        def report(row: dict[str, float]) -> None:
            bar.update(trainer.images - bar.n)
            bar.set_postfix({name: row[name] for name in ("loss", "l1", "gradient")})

        finished = trainer.train(minutes=minutes, report=report)
    click.echo(
        f"{run}: {trainer.images} of {settings.images} images{'' if finished else ', to be continued'}", err=True
    )


@train_group.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The .safetensors file to write.")
@click.option("--blend", type=click.Path(path_type=Path), help="A run that RUN began from, to mix its weights in.")
@click.option("--share", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="RUN's share of a mixture.")
def export(run: Path, output: Path, blend: Path | None, share: float) -> None:
    """Write the averaged network of RUN as a half-precision file that `--model FILE` loads."""
    from restorer.training.export import export_run

    images = export_run(run, output, blend=blend, share=share)
    click.echo(f"{output}: {output.stat().st_size / 1e6:.1f} MB after {images} images", err=True)


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@train_group.command("detector")
@click.argument("archives", nargs=-1, required=True, type=_FILE)
@click.option("-o", "--output", "run", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--teacher", required=True, type=_FILE, help="RetinaFace weights to learn from.")
@click.option("--recipe", default="detector-lite", show_default=True, help="A recipe's name or TOML file.")
@click.option("--minutes", type=float, default=math.inf, help="Save and end cleanly after so many minutes.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(1), help="Threads on the CPU.  [default: all]")
@click.option("--export", type=click.Path(path_type=Path), help="Write the averaged network to this .safetensors file.")
def detector(
    archives: tuple[Path, ...],
    run: Path,
    teacher: Path,
    recipe: str,
    minutes: float,
    device: str,
    threads: int | None,
    export: Path | None,
) -> None:
    """Train a face detector on ARCHIVES, zips of photographs, by distillation from a teacher.

    Continues where it stopped when the run's folder holds a saved state.
    """
    import torch

    from restorer.training.detector import DetectorSettings, export_detector, train_detector
    from restorer.training.settings import load_recipe

    if threads:
        torch.set_num_threads(threads)
    settings = load_recipe(_recipe(recipe), DetectorSettings)

    def notify(line: str) -> None:
        click.echo(line, err=True)

    finished = train_detector(settings, list(archives), teacher, run, device=device, minutes=minutes, notify=notify)
    notify(f"{run}: {'finished' if finished else 'to be continued'}")
    if export:
        images = export_detector(run, export, settings)
        notify(f"{export}: {export.stat().st_size / 1e6:.1f} MB after {images} images")
