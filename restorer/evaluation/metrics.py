"""All metrics by name: the one place that knows them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from restorer.errors import UsageError
from restorer.evaluation import fid, fsim, haarpsi, identity, landmarks, lpips, niqe, psnr, ssim
from restorer.evaluation.metric import Judge, Metric, Open, Tools, Unavailable
from restorer.weights import Weights

OPENERS: dict[str, tuple[Metric, Open]] = {
    "psnr": (psnr.METRIC, psnr.open_psnr),
    "ssim": (ssim.METRIC, ssim.open_ssim),
    "fsim": (fsim.METRIC, fsim.open_fsim),
    "haarpsi": (haarpsi.METRIC, haarpsi.open_haarpsi),
    "lpips": (lpips.METRIC, lpips.open_lpips),
    "deg": (identity.METRIC, identity.open_identity),
    "lmd": (landmarks.METRIC, landmarks.open_landmarks),
    "niqe": (niqe.METRIC, niqe.open_niqe),
}
"""Metrics of single pictures, in the order of the table's columns."""
METRICS: dict[str, Metric] = {**{name: row[0] for name, row in OPENERS.items()}, "fid": fid.METRIC}
"""Every metric."""


@dataclass(frozen=True)
class Metrics:
    """The metrics of one run, ready."""

    judges: dict[str, Judge]
    features: fid.Features | None
    """For FID; None where it is not measured."""
    skipped: dict[str, str]
    """Metric to the reason why it is not measured."""
    weights: dict[str, tuple[Weights, ...]] = field(default_factory=dict)
    """Metric to the weight files it runs on."""

    @property
    def measured(self) -> list[Metric]:
        """The metrics that are measured, in order."""
        return [METRICS[name] for name in METRICS if name in self.judges or (name == "fid" and self.features)]


def open_metrics(tools: Tools, named: Sequence[str] | None, *, truth: bool, reference: bool) -> Metrics:
    """Make metrics ready; those that cannot be had are skipped with their reason, unless they were named.

    Args:
        tools: Where weights come from, and where networks run.
        named: The metrics asked for; None: all that can be had.
        truth: Whether there is a truth.
        reference: Whether there is a reference for FID.

    Raises:
        UsageError: A metric is unknown, or one that was named cannot be had.
        WeightsError: The weights of one that was named cannot be had, or a file is damaged.
    """
    unknown = [name for name in named or () if name not in METRICS]
    if unknown:
        raise UsageError(f"{unknown[0]} is no metric: choose from {', '.join(METRICS)}.")
    judges: dict[str, Judge] = {}
    features: fid.Features | None = None
    skipped: dict[str, str] = {}
    weights: dict[str, tuple[Weights, ...]] = {}
    for name in [name for name in METRICS if named is None or name in named]:
        tools.used.clear()
        try:
            if METRICS[name].needs_truth and not truth:
                raise Unavailable("it needs --truth")
            if name == "fid":
                if not reference:
                    raise Unavailable("it needs --reference")
                features = fid.open_features(tools)
            else:
                judges[name] = OPENERS[name][1](tools)
            weights[name] = tuple(tools.used)
        except Unavailable as reason:
            if named is not None:
                sentence = f"{METRICS[name].label} cannot be measured: {reason}."
                raise (type(reason.error) if reason.error else UsageError)(sentence) from reason
            skipped[name] = str(reason)
    return Metrics(judges, features, skipped, weights)
