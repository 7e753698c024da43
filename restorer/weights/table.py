"""The table of weight files: one row per file, read from ``manifest.json`` in the bundled folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from restorer.errors import WeightsError
from restorer.weights.folders import bundled_folder

Kind = Literal["face", "detector", "parser", "upsampler", "identity", "perceptual", "metric"]

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class WeightFile:
    """One row of the table."""

    name: str
    """How the file is called on the command line, such as ``gfpgan-1.4``."""
    file: str
    """Its file name on disk; where possible the one its publisher gave it."""
    kind: Kind
    """What the network is for."""
    architecture: str
    """Which network the weights belong to."""
    urls: tuple[str, ...]
    """Where it is published, then mirrors known to hold the same bytes; empty for bundled files."""
    size: int | None
    """Bytes; None where nobody states them exactly."""
    sha256: str | None
    """Lower-case hexadecimal; None where nobody states it."""
    confirmed: str
    """Who states the size and the SHA-256."""
    licence: str
    """Licence of the weights as published."""
    source: str
    """The project that publishes them."""
    bundled: bool = False
    """True: part of this package, trained by this project; never downloaded."""


def read_table(manifest: Path | None = None) -> dict[str, WeightFile]:
    """Read the table of weight files.

    Args:
        manifest: A ``manifest.json``; None: the one that comes with this package.

    Returns:
        The rows by name, in the manifest's order.

    Raises:
        WeightsError: The manifest is missing or damaged.
    """
    path = manifest or bundled_folder() / MANIFEST
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["weights"]
        return {row["name"]: _row(row) for row in rows}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(
            f"the weights table {path} cannot be read ({error!r}): the installation is damaged, install again."
        ) from error


def _row(values: dict[str, Any]) -> WeightFile:
    return WeightFile(**{**values, "urls": tuple(values["urls"])})
