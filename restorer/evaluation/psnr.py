"""Peak signal-to-noise ratio."""

from __future__ import annotations

import numpy as np

from restorer.evaluation.metric import Judge, Metric, Pixels, Tools, one_by_one

METRIC = Metric(
    "psnr",
    "PSNR",
    higher_is_better=True,
    decimals=2,
    unit="dB",
    recipe="RGB, 8 bits, no border cut, mean squared error over all channels in float64; equal pictures: infinite",
    source="10 log10(255² / MSE), as in the GFP-GAN authors' scripts without their mean and variance correction",
)


def psnr(restored: Pixels, truth: Pixels) -> float:
    """Return the ratio in decibels; infinite for equal pictures."""
    error = float(np.mean((restored.astype(np.float64) - truth.astype(np.float64)) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def open_psnr(tools: Tools) -> Judge:
    """Return the judge."""
    return one_by_one(psnr)
