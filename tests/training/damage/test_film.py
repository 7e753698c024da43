"""Lens, grain and screens, measured back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from restorer.training.damage.film import grain, halftone, soft_lens
from restorer.training.damage.filters import gaussian_blur
from tests.training.damage.pictures import draws, flat, luma, peak_frequency, ramp


def _width(row: np.ndarray, at: int) -> float:
    slope = np.abs(np.diff(row))[at - 25 : at + 25]
    places = np.arange(len(slope))
    centre = (places * slope).sum() / slope.sum()
    return float(np.sqrt(((places - centre) ** 2 * slope).sum() / slope.sum()))


def test_a_lens_is_softer_at_the_edges() -> None:
    bars = flat(0, 1, 256)
    bars[..., 16:] = 255
    bars[..., 128:] = 0
    soft = luma(soft_lens(bars, 1.5, 4.0, widest=5))[0]
    assert _width(soft[128], 128) == pytest.approx(1.5, rel=0.1)
    assert 2.5 < _width(np.concatenate([np.zeros(30), soft[128]]), 46) < 4
    same = soft_lens(bars, 2.0, 2.0, widest=5)
    assert torch.allclose(same, gaussian_blur(bars, 2.0, widest=5))


@pytest.mark.parametrize("size", [0.7, 1.0, 2.0])
def test_grain_has_the_deviation_and_the_spectrum_asked_for(size: float) -> None:
    grey = flat(127.5, 1, 256)
    noise = luma(grain(grey, draws(1), size, 10.0, largest=2.0))[0] - 127.5
    assert noise.std() == pytest.approx(10, rel=0.08)
    # A Gaussian of deviation s has the power exp(-(2π f s)²): at f = 1 / (2π s) it has fallen to 1/e.
    power = np.abs(np.fft.fft2(noise)) ** 2
    rows, columns = np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256), indexing="ij")
    radius = np.hypot(rows, columns)
    at = min(1 / (2 * np.pi * size), 0.35)
    ring, middle = power[np.abs(radius - at) < 0.02].mean(), power[(radius < 0.04) & (radius > 0)].mean()
    expected = np.exp(-((2 * np.pi * at * size) ** 2)) / np.exp(-((2 * np.pi * 0.027 * size) ** 2))
    assert ring / middle == pytest.approx(expected, rel=0.25)


def test_grain_is_strongest_in_the_middle_tones_and_without_colour() -> None:
    levels = torch.tensor([0.0, 128.0, 255.0]).view(3, 1, 1, 1).expand(3, 3, 128, 128)
    noise = grain(levels, draws(3), 1.0, 9.0, largest=1.0) - levels
    black, middle, white = noise.std(dim=(1, 2, 3)).tolist()
    assert middle == pytest.approx(9, rel=0.1)
    assert black == pytest.approx(3, rel=0.15) and white == pytest.approx(3, rel=0.15)
    assert torch.allclose(noise[:, 0], noise[:, 2], atol=1e-4)


@pytest.mark.parametrize(("period", "angle"), [(3.0, 0.785), (5.0, 0.2), (8.0, 1.2)])
def test_a_screen_has_the_period_and_the_angle_asked_for(period: float, angle: float) -> None:
    printed = luma(halftone(flat(128, 1, 256), period, angle, 10.0))[0]
    frequency, direction = peak_frequency(printed)
    assert 1 / frequency == pytest.approx(period, rel=0.03)
    assert direction == pytest.approx(angle % (np.pi / 2), abs=0.04)


@pytest.mark.parametrize("hardness", [2.5, 8.0, 30.0])
def test_a_screen_keeps_the_tone(hardness: float) -> None:
    levels = torch.tensor([40.0, 100.0, 200.0]).view(3, 1, 1, 1).expand(3, 3, 128, 128)
    printed = halftone(levels, 4.0, 0.6, hardness)
    assert printed.mean(dim=(1, 2, 3)).tolist() == pytest.approx([40, 100, 200], abs=3)
    steps = halftone(ramp(), 4.0, 0.6, hardness)[0, 0].mean(0).view(8, 32).mean(1)
    assert (steps.diff() > 0).all()


def test_hard_dots_are_ink_and_paper_and_colours_have_screens_of_their_own() -> None:
    hard = halftone(flat(128), 6.0, 0.6, 60.0)[0, 0]
    assert ((hard < 20) | (hard > 235)).float().mean() > 0.8
    grey = halftone(flat(128, 2, 256), 6.0, 0.6, 10.0, colour=np.array([False, True]))
    assert torch.equal(grey[0, 0], grey[0, 1]) and not torch.equal(grey[1, 0], grey[1, 1])
    directions = [peak_frequency(grey[1, channel].numpy().astype(float))[1] for channel in range(3)]
    apart = np.abs(np.diff(np.sort(np.degrees(directions))))
    assert apart.min() > 25
