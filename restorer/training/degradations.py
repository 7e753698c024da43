"""Degradations that turn a sharp face into one that needs restoring.

Source: Wang et al., CVPR 2021, section 3.6, equation 1: x = [(y ⊛ k_σ) ↓_r + n_δ]_JPEG_q, then resized back. Every
function is pure: the same image and the same generator state give the same result.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[np.float32]
Range = tuple[float, float]


@dataclass(frozen=True)
class DegradationSettings:
    """Ranges from which one degradation is drawn."""

    kernel_size: int = 41
    """Side of the blur kernel in pixels, odd."""
    sigma: Range = (0.1, 10.0)
    """Standard deviation of the Gaussian blur in pixels of the 512 crop."""
    isotropic: float = 0.5
    """Probability that the blur is equally wide in all directions."""
    downscale: Range = (0.8, 8.0)
    """Factor by which the image is reduced before noise and JPEG."""
    noise: Range = (0.0, 20.0)
    """Standard deviation of the Gaussian noise in levels of 0..255, at the reduced size."""
    quality: Range = (60.0, 100.0)
    """JPEG quality."""


PAPER = DegradationSettings(isotropic=1.0, sigma=(0.2, 10.0), downscale=(1.0, 8.0), noise=(0.0, 15.0))
"""Section 4.1 of the paper."""
RELEASED = DegradationSettings()
"""The options released with the 2021 code."""
PRESETS = {"paper": PAPER, "released": RELEASED}


@dataclass(frozen=True)
class Degradation:
    """One degradation, drawn."""

    sigma: tuple[float, float]
    """Blur along its two axes in pixels."""
    angle: float
    """Direction of the first axis in radians."""
    downscale: float
    """Factor of the reduction."""
    noise: float
    """Standard deviation in levels."""
    quality: int
    """JPEG quality, 1 to 100."""


def draw(settings: DegradationSettings, rng: np.random.Generator) -> Degradation:
    """Draw one degradation uniformly from the settings' ranges."""
    first = rng.uniform(*settings.sigma)
    second = rng.uniform(*settings.sigma)
    isotropic = rng.random() < settings.isotropic
    return Degradation(
        sigma=(first, first if isotropic else second),
        angle=0.0 if isotropic else rng.uniform(-np.pi, np.pi),
        downscale=rng.uniform(*settings.downscale),
        noise=rng.uniform(*settings.noise),
        quality=round(rng.uniform(*settings.quality)),
    )


def gaussian_kernel(size: int, sigma: tuple[float, float], angle: float) -> FloatImage:
    """Return a normalised size×size Gaussian with standard deviations ``sigma`` along axes turned by ``angle``."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    inverse = turn @ np.diag([1 / max(s, 1e-3) ** 2 for s in sigma]) @ turn.T
    steps = np.arange(size) - size // 2
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).astype(np.float64)
    kernel = np.exp(-0.5 * np.einsum("yxi,ij,yxj->yx", grid, inverse, grid))
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def apply(
    image: NDArray[np.uint8], degradation: Degradation, rng: np.random.Generator, *, kernel_size: int = 41
) -> NDArray[np.uint8]:
    """Degrade an image (equation 1) and resize it back.

    Args:
        image: H×W×3 RGB uint8.
        degradation: what to do.
        rng: source of the noise.
        kernel_size: side of the blur kernel in pixels.

    Returns:
        H×W×3 RGB uint8.
    """
    height, width = image.shape[:2]
    kernel = gaussian_kernel(kernel_size, degradation.sigma, degradation.angle)
    blurred = cv2.filter2D(image.astype(np.float32), -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    small_size = (max(1, int(width // degradation.downscale)), max(1, int(height // degradation.downscale)))
    small = cv2.resize(blurred, small_size, interpolation=cv2.INTER_LINEAR)
    small += rng.standard_normal(small.shape, dtype=np.float32) * np.float32(degradation.noise)
    coded = jpeg(np.clip(np.rint(small), 0, 255).astype(np.uint8), degradation.quality)
    return cv2.resize(coded, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Return an H×W×3 RGB image as it comes back from JPEG of this quality (1 to 100, chroma 4:2:0)."""
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"an image of shape {image.shape} cannot be coded as JPEG")
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


def degrade(image: NDArray[np.uint8], settings: DegradationSettings, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a degradation and apply it; see :func:`apply`."""
    return apply(image, draw(settings, rng), rng, kernel_size=settings.kernel_size)
