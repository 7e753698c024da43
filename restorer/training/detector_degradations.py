"""Damage for the detector's training views: what time, cameras, printing presses and file formats do.

Every function takes RGB float32 in 0..255 and a generator and returns the same; all randomness comes from the
generator, so that a run can be repeated. The strengths are wider than those of face restoration: a detector has to
find faces that are too far gone to be restored.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]
Bytes = NDArray[np.uint8]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in luma (BT.601)."""
SEPIA = np.array([1.07, 0.95, 0.74], np.float32)
"""Tint of a sepia print relative to its luma, set by eye."""


def grey(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Drop the colour; in a quarter of the cases tint the result like an old print."""
    luma = (pixels @ LUMA)[..., None]
    tint = 1 + (SEPIA - 1) * np.float32(rng.uniform(0.3, 2.0)) if rng.random() < 0.25 else np.ones(3, np.float32)
    return np.asarray(luma * tint, np.float32)


def colours(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Change saturation (0.2 to 2.2) and turn the hue by up to 25° (about the grey axis)."""
    angle = np.radians(rng.uniform(-25, 25))
    axis = np.full(3, 3**-0.5)
    cross = np.cross(np.eye(3), axis)
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * np.outer(axis, axis)
    luma = (pixels @ LUMA)[..., None]
    turned = luma + (pixels - luma) @ turn.astype(np.float32) * np.float32(rng.uniform(0.2, 2.2))
    return np.asarray(turned, np.float32)


def tone(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Change gamma, contrast, brightness and, a little, each channel's gain."""
    curve = 255 * np.linspace(0, 1, 256) ** np.exp(rng.normal(0, 0.35))
    gain = np.exp(rng.normal(0, 0.06, 3)) * np.exp(rng.normal(0, 0.3))
    table = (curve[:, None] - 128) * gain + 128 + rng.normal(0, 22)
    return np.asarray(cv2.LUT(_to_bytes(pixels), table.astype(np.float32)[None]), np.float32)


def fade(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Squeeze the tones into a narrow range, as a bleached print does."""
    low, span = rng.uniform(20, 150), rng.uniform(35, 110)
    return np.asarray(low + pixels * (span / 255), np.float32)


def threshold(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Push the contrast towards black and white, as a photocopy or an engraving does."""
    luma = pixels @ LUMA
    level = np.percentile(luma, rng.uniform(25, 70))
    steep = rng.uniform(0.03, 0.3)
    return np.repeat((255 / (1 + np.exp(-steep * (luma - level))))[..., None], 3, axis=2).astype(np.float32)


def vignette(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Lighten or darken away from a centre, or set an oval frame."""
    height, width = pixels.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    centre = rng.uniform(0.3, 0.7, 2) * (width, height)
    radius = np.hypot((x - centre[0]) / width, (y - centre[1]) / height)[..., None] / rng.uniform(0.5, 1.0)
    if rng.random() < 0.5:
        return np.asarray(pixels * (1 - rng.uniform(0.2, 0.7) * np.clip(radius, 0, 1) ** 2), np.float32)
    weight = np.clip((radius - 0.75) * rng.uniform(2, 20), 0, 1)
    return np.asarray(pixels * (1 - weight) + rng.uniform(120, 255) * weight, np.float32)


def blur(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Blur with a Gaussian (σ 0.4 to 3 px, small ones more often), sometimes stretched in one direction."""
    sigma = float(np.exp(rng.uniform(np.log(0.4), np.log(3.0))))
    other = sigma * rng.uniform(0.3, 1.0) if rng.random() < 0.3 else sigma
    first, second = (sigma, other) if rng.random() < 0.5 else (other, sigma)
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigmaX=first, sigmaY=second), np.float32)


def motion(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Blur along a line of 3 to 9 px."""
    length = int(rng.integers(3, 10))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    reach = (length - 1) / 2
    for t in np.linspace(-reach, reach, 2 * length):
        kernel[round(reach + t * np.sin(angle)), round(reach + t * np.cos(angle))] = 1
    return np.asarray(cv2.filter2D(pixels, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101), np.float32)


def resample(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Shrink by 1.2 to 2.5 and enlarge again with a random kernel."""
    height, width = pixels.shape[:2]
    factor = rng.uniform(1.2, 2.5)
    small = cv2.resize(pixels, (round(width / factor), round(height / factor)), interpolation=cv2.INTER_AREA)
    kernel = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC)[int(rng.choice(3, p=(0.1, 0.5, 0.4)))]
    return np.asarray(cv2.resize(small, (width, height), interpolation=kernel), np.float32)


def noise(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Add Gaussian noise (σ 2 to 30), grey or coloured, sometimes coarse like film grain."""
    height, width = pixels.shape[:2]
    channels = 1 if rng.random() < 0.5 else 3
    coarse = rng.uniform(1, 2.5) if rng.random() < 0.4 else 1.0
    shape = (round(height / coarse), round(width / coarse), channels)
    grain = rng.standard_normal(shape, np.float32) * np.float32(rng.uniform(2, 30))
    if coarse > 1:
        grain = cv2.resize(grain, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, channels)
    return np.asarray(pixels + grain, np.float32)


def halftone(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Print through a dot screen with a period of 2.2 to 6 px, then soften as a scan does."""
    height, width = pixels.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle, period = rng.uniform(0, np.pi / 2), rng.uniform(2.2, 6.0)
    u = (x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period)
    v = (y * np.cos(angle) - x * np.sin(angle)) * (2 * np.pi / period)
    screen = (np.cos(u) + np.cos(v)) * 0.25 + 0.5
    luma = np.clip(pixels @ LUMA, 0, 255) / 255
    dots = 255 / (1 + np.exp(-rng.uniform(4, 16) * (luma - screen)))
    dots = cv2.GaussianBlur(dots.astype(np.float32), (0, 0), rng.uniform(0.4, 1.3))
    return np.repeat(dots[..., None], 3, axis=2)


def scratches(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Draw thin lines, folds and soft stains."""
    height, width = pixels.shape[:2]
    result = pixels.copy()
    for _ in range(int(rng.integers(1, 8))):
        start, end = rng.uniform(0, 1, (2, 2)) * (width, height)
        colour = (float(rng.choice((20, 235))) + rng.normal(0, 15),) * 3
        ends = tuple(start.astype(int).tolist()), tuple(end.astype(int).tolist())
        cv2.line(result, ends[0], ends[1], colour, int(rng.integers(1, 3)), cv2.LINE_AA)
    stain = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(0, 4))):
        centre = (rng.uniform(0, 1, 2) * (width, height)).astype(int).tolist()
        cv2.circle(stain, tuple(centre), int(rng.uniform(0.03, 0.2) * width), float(rng.normal(0, 60)), -1)
    return np.asarray(result + cv2.GaussianBlur(stain, (0, 0), 4)[..., None], np.float32)


def sharpen(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Sharpen with halos (unsharp mask)."""
    soft = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.8, 2.0))
    return np.asarray(pixels + (pixels - soft) * rng.uniform(0.5, 2.5), np.float32)


def jpeg(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Save as JPEG of quality 15 to 95 and read again."""
    quality = int(rng.uniform(15, 95))
    _, data = cv2.imencode(".jpg", _to_bytes(pixels)[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.float32)[..., ::-1]


STEPS: tuple[tuple[Callable[[Pixels, np.random.Generator], Pixels], float], ...] = (
    (colours, 0.3),
    (grey, 0.3),
    (tone, 0.6),
    (fade, 0.08),
    (threshold, 0.05),
    (vignette, 0.08),
    (scratches, 0.06),
    (sharpen, 0.07),
    (halftone, 0.1),
    (blur, 0.4),
    (motion, 0.07),
    (resample, 0.2),
    (noise, 0.35),
    (jpeg, 0.55),
)
"""What may happen to a view, in this order, each with its probability."""
CLEAN = 0.15
"""Share of the views to which nothing happens."""


def degrade(view: Bytes, rng: np.random.Generator) -> Bytes:
    """Return a damaged copy of an RGB view, uint8 H×W×3, of the same size."""
    if rng.random() < CLEAN:
        return view
    pixels = view.astype(np.float32)
    for step, probability in STEPS:
        if rng.random() < probability:
            pixels = np.clip(step(pixels, rng), 0, 255)
    return _to_bytes(pixels)


def _to_bytes(pixels: Pixels) -> Bytes:
    return np.asarray(np.clip(np.rint(pixels), 0, 255), np.uint8)
