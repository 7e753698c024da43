"""Does the training learn? A small GFP-GAN gets a few faces by heart, or its loss falls on many.

    python benchmarks/learning.py faces.zip --faces 8               # PSNR of restored faces, which the run has seen
    python benchmarks/learning.py faces.zip --images 8000           # the loss, tenth by tenth of the run

Every face is damaged afresh for each visit; the faces are judged on damage that the run has not drawn.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from restorer.training.dataset import draw_pair, load_faces, stack
from restorer.training.loop import LOG
from restorer.training.settings import RestorationSettings, load_recipe
from restorer.training.sheets import draw_sheet, evenly, to_pixels, write_picture
from restorer.training.trainer import RestorationTrainer

RECIPES = Path(__file__).parent.parent / "restorer/training/recipes"
JUDGED = 8
"""Faces that are judged; each is damaged four times."""


def psnr(first: torch.Tensor, second: torch.Tensor) -> list[float]:
    """Return the PSNR in dB of each image in [−1, 1]."""
    error = (first.clamp(-1, 1) - second).square().mean(dim=(1, 2, 3))
    return (10 * torch.log10(4 / error)).tolist()


def judge(trainer: RestorationTrainer, sheet: Path) -> None:
    """Print the PSNR of damaged and of restored faces, and draw the first of each."""
    faces = [trainer.faces[place] for place in evenly(len(trainer.faces), JUDGED)]
    samples = dataclasses.replace(trainer.settings.samples, clean=0.0)
    pairs = [
        draw_pair(face, samples, np.random.default_rng([99, number, visit]))
        for visit in range(4)
        for number, face in enumerate(faces)
    ]
    batch = stack(pairs)
    with torch.no_grad():
        restored = trainer.average(batch.degraded)
    for name, images in (("input", batch.degraded), ("restored", restored)):
        values = np.array(psnr(images, batch.truth))
        print(f"{name:9} PSNR {values.mean():.2f} dB (lowest {values.min():.2f}, {len(values)} pictures)", flush=True)
    columns = {"input": batch.degraded, "restored": restored, "truth": batch.truth}
    write_picture(sheet, draw_sheet({name: to_pixels(images[:JUDGED]) for name, images in columns.items()}))


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--faces", dest="count", type=int, help="so many of them, evenly spaced  [default: all]")
    parser.add_argument("--recipe", type=Path, default=RECIPES / "tiny.toml")
    parser.add_argument("--images", type=int, help="length of the run  [default: the recipe's]")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--run", type=Path, help="where to keep the run  [default: nowhere]")
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    changes = given.changes + ([f"images={given.images}"] if given.images else [])
    settings = load_recipe(given.recipe, RestorationSettings, changes)
    faces = load_faces(given.faces, settings.out_size)
    faces = [faces[place] for place in evenly(len(faces), given.count or len(faces))]
    with tempfile.TemporaryDirectory() as folder:
        run = given.run or Path(folder)
        trainer = RestorationTrainer(settings, faces, run)
        print(f"{len(faces)} faces of {settings.out_size} pixels, {settings.images} images", flush=True)
        trainer.train()
        rows = [json.loads(line) for line in (run / LOG).read_text(encoding="utf-8").splitlines()]
        for part in np.array_split(np.arange(len(rows)), 10):
            some = [rows[row] for row in part]
            print(
                f"to image {some[-1]['images']:6}: loss {np.mean([row['loss'] for row in some]):.4f}, L1 over the "
                f"input's {np.mean([row['l1'] for row in some]) / np.mean([row['input_l1'] for row in some]):.3f}"
            )
        judge(trainer, run / "judged.png")


if __name__ == "__main__":
    main()
