"""``restorer demo``: degrade a portrait that is free to use, restore it with the bundled networks, show both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from restorer.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL, DETECTOR = "lite", "detector-lite"
SEED = 0
_BLUR = 2.0
"""Standard deviation of the blur in pixels of the original, as of a lens out of focus."""
_SHRINK = 2
_NOISE = 5.0
"""Standard deviation of the noise in levels of 255."""
_QUALITY = 50


@click.command("demo")
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Folder for the pictures.",
)
@click.option(
    "--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda, cuda:N, mps or intel."
)
def demo_command(folder: Path, device: str) -> None:
    """Degrade a portrait, restore it with the bundled networks, and write a comparison.

    The portrait is NASA's of Eileen Collins, as scikit-image brings it. Nothing is downloaded. Writes original.png,
    degraded.jpg, restored.png and comparison.jpg.
    """
    original = _portrait()
    from restorer.api import Restorer
    from restorer.inputs import Input
    from restorer.options import RestoreOptions
    from restorer.outputs import Job, make_folder
    from restorer.photo import Metadata, Photo, write_photo
    from restorer.pipeline.networks import OpenedNetworks

    make_folder(folder)
    degraded = folder / "degraded.jpg"
    write_photo(Photo(original, None, False, "PNG", Metadata()), folder / "original.png")
    write_photo(Photo(degrade(original), None, False, "JPEG", Metadata()), degraded, quality=_QUALITY)
    options = RestoreOptions(model=MODEL, upscale=_SHRINK, offline=True, device=device)
    job = Job(
        Input(str(degraded), Path(degraded.name), degraded),
        output=folder / "restored.png",
        comparison=folder / "comparison.jpg",
        format="PNG",
    )
    restorer = Restorer(options, engines=OpenedNetworks(options, detector=DETECTOR))
    for report in restorer.run([job]):
        if report.error is not None:
            raise report.error
        count = report.restored_faces
        seconds = sum(report.seconds.values())
        click.echo(f"{count} face{'' if count == 1 else 's'} restored in {seconds:.1f} s", err=True)
    for name in ("original.png", "degraded.jpg", "restored.png", "comparison.jpg"):
        click.echo(folder / name)


def degrade(pixels: NDArray[Any], seed: int = SEED) -> NDArray[np.uint8]:
    """Blur a picture, halve its size and add noise, the same for the same seed.

    Args:
        pixels: H×W×3 RGB uint8.
        seed: Of the noise.

    Returns:
        The picture at half the size, uint8.
    """
    import cv2
    import numpy as np

    blurred = cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), _BLUR)
    height, width = pixels.shape[:2]
    small = cv2.resize(blurred, (width // _SHRINK, height // _SHRINK), interpolation=cv2.INTER_AREA)
    noisy = small + np.random.default_rng(seed).normal(0, _NOISE, small.shape)
    result: NDArray[np.uint8] = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return result


def _portrait() -> NDArray[Any]:
    try:
        from skimage import data
    except ImportError as error:
        raise UsageError('The demo\'s portrait comes with scikit-image: pip install "restorer[demo]"') from error
    portrait: Any = data.astronaut  # untyped
    pixels: NDArray[Any] = portrait()
    return pixels
