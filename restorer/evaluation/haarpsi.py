"""Haar wavelet-based perceptual similarity."""

from __future__ import annotations

from restorer.evaluation.metric import Judge, Metric, Pixels, Tools, library, one_by_one, planes

METRIC = Metric(
    "haarpsi",
    "HaarPSI",
    higher_is_better=True,
    decimals=4,
    least_side=32,
    recipe="RGB brought to YIQ, averaged down by 2, three scales, C = 30, alpha = 4.2; float64; no border cut",
    source="Reisenhofer et al., Signal Processing: Image Communication 2018; computed by piq",
)


def open_haarpsi(tools: Tools) -> Judge:
    """Return the judge.

    Raises:
        Unavailable: piq is not installed.
    """
    import torch

    piq = library("piq", "piq")

    def haarpsi(restored: Pixels, truth: Pixels) -> float:
        first, second = (planes([picture], torch.float64) for picture in (restored, truth))
        return float(piq.haarpsi(first, second, data_range=255.0, reduction="none"))

    return one_by_one(haarpsi)
