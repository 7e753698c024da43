"""``restorer degrade``: damage pictures with the code that training and evaluation use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from restorer.cli.boundary import say
from restorer.errors import ExitCode

EPILOG = """\b
Examples:
  restorer degrade faces.zip -o damaged.zip --preset paper --seed 1
  restorer degrade portraits/ -o old/ --preset old --truth undamaged/
  restorer degrade portrait.jpg -o damaged.png

\b
Exit codes: 0 all damaged; 2 wrong usage; 3 nothing readable; 4 output not
writable; 7 finished, but some pictures cannot be read.
"""
_PATH = click.Path(path_type=Path)


@click.command("degrade", epilog=EPILOG)
@click.argument("source", metavar="IN", type=_PATH)
@click.option("-o", "--output", required=True, type=_PATH, help="A folder or .zip; for one picture its name, too.")
@click.option("--preset", default="paper", show_default=True, metavar="NAME", help="paper, released or old.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Another seed, other damage.")
@click.option("--truth", type=_PATH, help="Where to write what a restorer is to make of each picture.")
def degrade_command(source: Path, output: Path, preset: str, seed: int, truth: Path | None) -> None:
    """Damage the pictures of IN, a picture, a folder or a zip archive.

    "paper" and "released" blur, reduce, add noise and code as JPEG, with the ranges of GFP-GAN's paper and of its
    released options; "old" makes old photographs. A picture's damage depends on its name, the preset and the seed
    alone. Results are PNG; a manifest.json is carried along. Lengths are in pixels of the picture: the ranges suit
    aligned faces of about 512 pixels.
    """
    from restorer.facesets.degrade import DegradeRequest, degrade

    with counting("picture") as advance:
        count = degrade(DegradeRequest(source, output, preset, seed, truth), say, advance)
    say(f"{output}: {count.damaged} damaged, {count.failed} failed")
    if count.failed:
        sys.exit(ExitCode.SOME_FAILED)


@contextmanager
def counting(unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show how many of all things are done, on a terminal only; what is given back takes both numbers."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from tqdm import tqdm

    with tqdm(unit=unit, dynamic_ncols=True) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield advance
