"""PSNR, SSIM, FSIM and HaarPSI: equal pictures, symmetry, known values, order, and libraries that agree."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from restorer.evaluation.metric import Tools
from restorer.evaluation.metrics import METRICS, OPENERS
from restorer.evaluation.psnr import psnr
from tests.evaluation.conftest import MakeTools, blurred

SIMILARITIES = ("psnr", "ssim", "fsim", "haarpsi")
Judge = Callable[[NDArray[Any], NDArray[Any]], float]


def judge(name: str, tools: Tools) -> Judge:
    if name != "psnr":
        pytest.importorskip({"ssim": "skimage"}.get(name, "piq"))
    found = OPENERS[name][1](tools)

    def one(restored: NDArray[Any], truth: NDArray[Any]) -> float:
        (value,) = found([restored], [truth])
        assert isinstance(value, float)
        return value

    return one


@pytest.mark.parametrize("name", SIMILARITIES)
def test_equal_symmetric_ordered(name: str, tools: MakeTools, face: NDArray[Any]) -> None:
    measure = judge(name, tools())
    same = measure(face, face)
    assert same == math.inf if name == "psnr" else same == pytest.approx(1, abs=1e-9)
    soft, softer = blurred(face, 1), blurred(face, 3)
    assert measure(soft, face) == pytest.approx(measure(face, soft), abs=1e-12)
    assert same > measure(soft, face) > measure(softer, face)
    assert METRICS[name].higher_is_better


@pytest.mark.parametrize("name", SIMILARITIES)
def test_values_do_not_depend_on_the_batch(
    name: str, tools: MakeTools, face: NDArray[Any], noisy: NDArray[Any]
) -> None:
    judge(name, tools())
    found = OPENERS[name][1](tools())
    pictures, truths = [noisy, blurred(face, 2), noisy[:128, :96]], [face, face, face[:128, :96]]
    assert found(pictures, truths) == [found([p], [t])[0] for p, t in zip(pictures, truths, strict=True)]


@pytest.mark.parametrize("offset", [1, 5, 100])
def test_psnr_of_an_offset(offset: int) -> None:
    dark = np.full((8, 9, 3), 20, np.uint8)
    assert psnr(dark + np.uint8(offset), dark) == pytest.approx(20 * math.log10(255 / offset), abs=1e-12)


def test_psnr_equals_scikit_image(face: NDArray[Any], noisy: NDArray[Any]) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    assert psnr(noisy, face) == pytest.approx(metrics.peak_signal_noise_ratio(face, noisy, data_range=255), abs=1e-12)


def test_psnr_is_computed_in_float64() -> None:
    """One level in one of two million values: float32 sums would lose it, 8-bit differences would wrap."""
    truth = np.zeros((1024, 700, 3), np.uint8)
    restored = truth.copy()
    restored[3, 4, 1] = 1
    assert psnr(restored, truth) == pytest.approx(10 * math.log10(255**2 * truth.size), abs=1e-9)
    assert psnr(truth, restored) == psnr(restored, truth)


def test_ssim_of_flat_pictures(tools: MakeTools) -> None:
    """Without variance only the term of the means is left: (2ab + C1) / (a² + b² + C1) with C1 = (0.01·255)²."""
    measure = judge("ssim", tools())
    a, b, c = 100.0, 130.0, (0.01 * 255) ** 2
    pictures = [np.full((40, 50, 3), value, np.uint8) for value in (100, 130)]
    assert measure(*pictures) == pytest.approx((2 * a * b + c) / (a * a + b * b + c), abs=1e-12)


@pytest.mark.parametrize("size", [(256, 256), (100, 131)])
def test_ssim_equals_another_library(tools: MakeTools, face: NDArray[Any], size: tuple[int, int]) -> None:
    """The definition of 2004 as piq computes it: a window of 11×11 with sigma 1.5 where it fits whole."""
    piq, torch = pytest.importorskip("piq"), pytest.importorskip("torch")
    truth = face[: size[0], : size[1]]
    restored = blurred(truth, 1.3)
    first, second = (torch.from_numpy(p.transpose(2, 0, 1)[None].astype(np.float64)) for p in (restored, truth))
    theirs = float(piq.ssim(first, second, 11, 1.5, data_range=255, downsample=False))
    assert judge("ssim", tools())(restored, truth) == pytest.approx(theirs, abs=1e-9)


def test_fsim_looks_at_luminance_alone(tools: MakeTools, face: NDArray[Any]) -> None:
    """Colour of equal luminance (Y of YIQ) makes no difference; the chromatic variant would see it."""
    measure = judge("fsim", tools())
    turned = face.astype(np.float64) + np.array([-0.587, 0.299, 0.0]) * 40
    inside = ((turned >= 0) & (turned <= 255)).all(axis=-1, keepdims=True)
    tinted = np.where(inside, np.rint(turned), face).astype(np.uint8)
    assert np.abs(tinted.astype(int) - face).max() > 10
    assert measure(tinted, face) > 0.998


def test_haarpsi_sees_colour(tools: MakeTools, face: NDArray[Any]) -> None:
    measure = judge("haarpsi", tools())
    grey = np.repeat(np.rint(face @ [0.299, 0.587, 0.114]).astype(np.uint8)[..., None], 3, axis=2)
    assert measure(grey, face) < 0.99
