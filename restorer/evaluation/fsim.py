"""Feature similarity: phase congruency and gradients."""

from __future__ import annotations

from restorer.evaluation.metric import Judge, Metric, Pixels, Tools, library, one_by_one, planes

METRIC = Metric(
    "fsim",
    "FSIM",
    higher_is_better=True,
    decimals=4,
    least_side=32,
    recipe="luminance (Y of YIQ) without the chromatic term; averaged down by the shorter side / 256; float64; no "
    "border cut",
    source="Zhang et al., IEEE TIP 2011; computed by piq",
)


def open_fsim(tools: Tools) -> Judge:
    """Return the judge.

    Raises:
        Unavailable: piq is not installed.
    """
    import torch

    piq = library("piq", "piq")

    def fsim(restored: Pixels, truth: Pixels) -> float:
        first, second = (planes([picture], torch.float64) for picture in (restored, truth))
        return float(piq.fsim(first, second, data_range=255.0, chromatic=False, reduction="none"))

    return one_by_one(fsim)
