"""Structural similarity."""

from __future__ import annotations

from restorer.evaluation.metric import Judge, Metric, Pixels, Tools, library, one_by_one

METRIC = Metric(
    "ssim",
    "SSIM",
    higher_is_better=True,
    decimals=4,
    least_side=11,
    recipe="RGB channels by themselves, then their mean; Gaussian window 11×11 with sigma 1.5, only where it fits "
    "whole; float64; no other border cut",
    source="Wang et al., IEEE TIP 2004; computed by scikit-image",
)


def open_ssim(tools: Tools) -> Judge:
    """Return the judge.

    Raises:
        Unavailable: scikit-image is not installed.
    """
    similarity = library("skimage.metrics", "scikit-image").structural_similarity

    def ssim(restored: Pixels, truth: Pixels) -> float:
        return float(
            similarity(
                truth,
                restored,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                data_range=255,
                channel_axis=2,
            )
        )

    return one_by_one(ssim)
