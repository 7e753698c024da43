"""The paper's degradation for batches: the same model, ranges and draws as :mod:`restorer.training.degradations`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from restorer.training.damage.draws import Draws
from restorer.training.damage.filters import convolve, each, enlarge, reduce, repeat_edges
from restorer.training.damage.jpeg import jpeg
from restorer.training.degradations import Degradation, DegradationSettings, draw, gaussian_kernel


def degrade(images: Tensor, settings: DegradationSettings, draws: Draws) -> Tensor:
    """Draw a degradation for each image and apply it."""
    drawn = [draw(settings, rng) for rng in draws.generators]
    return apply(images, drawn, draws, kernel_size=settings.kernel_size)


def apply(images: Tensor, degradations: Sequence[Degradation], draws: Draws, *, kernel_size: int = 41) -> Tensor:
    """Degrade each image (equation 1) and resize it back.

    Args:
        images: RGB N×3×H×W in 0..255.
        degradations: What to do, one for each image.
        draws: Source of the noise.
        kernel_size: Side of the blur kernels in pixels.

    Returns:
        N×3×H×W in 0..255, rounded.
    """
    height, width = images.shape[-2:]
    kernels = np.stack([gaussian_kernel(kernel_size, one.sigma, one.angle) for one in degradations])
    sizes = np.array(
        [[max(1, int(side // one.downscale)) for side in (height, width)] for one in degradations], np.intp
    )
    small = reduce(convolve(images, kernels), sizes, antialias=False)
    rows, columns = small.shape[-2:]
    noise = draws.normal_within(sizes, 3, rows, columns) * each([one.noise for one in degradations], images)
    noisy = repeat_edges(small + noise, sizes, rows, columns)
    coded = jpeg(noisy, [one.quality for one in degradations], sizes)
    return enlarge(coded, sizes, height, width).round()
