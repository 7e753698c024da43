"""Pictures whose damage can be measured, and ways to measure it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from restorer.training.damage.draws import Draws


def draws(count: int, seed: int = 0) -> Draws:
    return Draws([np.random.default_rng([seed, number]) for number in range(count)])


def flat(level: float, count: int = 1, size: int = 128, channels: int = 3) -> Tensor:
    return torch.full((count, channels, size, size), float(level))


def texture(count: int = 1, size: int = 96) -> Tensor:
    """Smooth noise in colour, unlike in each picture, in 0..255."""
    noise = torch.rand(count, 3, size // 4, size // 4, generator=torch.Generator().manual_seed(1)) * 255
    return torch.nn.functional.interpolate(noise, size=(size, size), mode="bicubic").clamp(0, 255).round()


def ramp(size: int = 256) -> Tensor:
    """Every grey level once across."""
    return torch.linspace(0, 255, size).expand(1, 3, 32, size).contiguous()


def luma(images: Tensor) -> np.ndarray:
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    return (images * weights).sum(1).numpy().astype(np.float64)


def psnr(first: Tensor | np.ndarray, second: Tensor | np.ndarray) -> float:
    error = np.mean((np.asarray(first, np.float64) - np.asarray(second, np.float64)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def peak_frequency(picture: np.ndarray, least: float = 0.02) -> tuple[float, float]:
    """Return the strongest frequency in cycles per pixel, and its direction in radians modulo a quarter turn."""
    window = np.outer(np.hanning(picture.shape[0]), np.hanning(picture.shape[1]))
    power = np.abs(np.fft.fft2((picture - picture.mean()) * window)) ** 2
    rows, columns = (np.fft.fftfreq(side) for side in picture.shape)
    radius = np.hypot(rows[:, None], columns)
    power[radius < least] = 0
    row, column = np.unravel_index(np.argmax(power), power.shape)
    return float(radius[row, column]), float(np.arctan2(rows[row], columns[column]) % (np.pi / 2))
