"""Every option of a restoration, with its default; the command reads its defaults from here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from restorer.errors import UsageError

BackgroundName = Literal["none", "realesrgan", "realesrgan-x4", "realesr-general"]
FaceChoice = Literal["all", "largest", "center"]
Rotations = Literal["auto", "all"]
GrainChoice = Literal["auto", "none"]
Disclosure = Literal["none", "metadata", "caption"]
PrecisionChoice = Literal["auto", "fp32", "bf16"]

MAX_UPSCALE = 8.0
"""Larger factors make files nobody can open and details nobody took."""


@dataclass(frozen=True)
class RestoreOptions:
    """How photographs are restored. Checked once, on construction; wrong values raise :class:`UsageError`."""

    upscale: float = 2.0
    """Result's side divided by the photograph's, above 0 and at most 8."""
    bg_upsampler: BackgroundName = "none"
    """Network that enlarges the background; none: Lanczos."""
    model: str = "auto"
    """Face model: a name from the weights table, a path to a checkpoint, or auto for the best at hand."""
    strength: float = 1.0
    """Blend of the restored (1) with the original face (0); 0 leaves every pixel as it was."""
    faces: FaceChoice = "all"
    """Which faces are restored."""
    select: tuple[int, ...] | None = None
    """Numbers of the faces to be restored, counted from 0 as reports and overviews list them: these, however small or
    sharp they are, and no others. None: by the rules below and above."""
    min_face: float = 24.0
    """Faces whose box is narrower than this many pixels of the input are left alone."""
    max_face: float | None = None
    """Faces whose box is wider than this many pixels of the input are left alone; None: no limit."""
    colorize: bool = False
    """Restored faces keep the colours the model paints: in a colour photograph, too, but above all in a black-and-white
    or toned one. Without it faces keep the photograph's."""
    restore_sharp: bool = False
    """Restore large faces, too, that are as sharp already as a restored face would be."""
    restore_drawn: bool = False
    """Restore large faces, too, that look engraved or drawn."""
    grain: GrainChoice = "auto"
    """auto: restored faces get the grain of the photograph around them; none: they stay as the model made them."""
    identity: bool = False
    """Measure by how many degrees each restored face turned from the original in ArcFace's space of people."""
    rotations: Rotations = "auto"
    """auto: faces are looked at in quarter turns where the detector is unsure; all: the whole photograph is, for faces
    that lie or stand on their heads, at four times the time for detection."""
    det_threshold: float = 0.9
    """Least confidence of the detector, 0 to 1."""
    aligned: bool = False
    """Inputs are faces already aligned (square crops): no detection, no paste-back."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N, several GPUs as cuda:0,1, mps, or intel, intel:N through OpenVINO."""
    precision: PrecisionChoice = "auto"
    """Arithmetic of the networks; auto: bf16 where the chip computes in it, fp32 elsewhere."""
    batch: int | None = None
    """Faces in one forward pass on a GPU; None: by memory. A CPU always runs one at a time."""
    tile: int | None = None
    """Greatest side of the background network's tiles in input pixels; 0: whole picture; None: by device."""
    disclose: Disclosure = "metadata"
    """Where a photograph that carries generated pixels says so."""
    offline: bool = False
    """Never open a connection."""
    weights_dir: str | Path | None = None
    """Folder searched for weights first, and where downloads go; None: the per-user cache."""

    def __post_init__(self) -> None:
        """Check every field."""
        if not (math.isfinite(self.upscale) and 0 < self.upscale <= MAX_UPSCALE):
            raise UsageError(
                f"--upscale {self.upscale:g} is out of range: give a factor above 0 and at most {MAX_UPSCALE:g}."
            )
        if not 0 <= self.strength <= 1:
            raise UsageError(f"--strength {self.strength:g} is out of range: give 0 (original) to 1 (restored).")
        if not 0 < self.det_threshold < 1:
            raise UsageError(
                f"--det-threshold {self.det_threshold:g} is out of range: give a confidence between 0 and 1."
            )
        if self.select is not None and (not self.select or min(self.select) < 0):
            raise UsageError("--select names no face: give numbers from 0, as --dry-run lists them, such as 0,2.")
        if self.select is not None and self.faces != "all":
            raise UsageError(f"--select and --faces {self.faces} both choose faces: give one of them.")
        if not self.min_face >= 0:
            raise UsageError(f"--min-face {self.min_face:g} is out of range: give a size in pixels, 0 or more.")
        if self.max_face is not None and not self.max_face >= max(self.min_face, 1):
            raise UsageError(
                f"--max-face {self.max_face:g} is below --min-face {self.min_face:g}: no face could pass both."
            )
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"--batch {self.batch} is out of range: give 1 or more, or auto.")
        if self.tile is not None and self.tile != 0 and self.tile < 32:
            raise UsageError(f"--tile {self.tile} is too small: give 0 (no tiles), 32 or more, or auto.")
        for field, value, allowed in (
            ("--bg-upsampler", self.bg_upsampler, get_args(BackgroundName)),
            ("--faces", self.faces, get_args(FaceChoice)),
            ("--rotations", self.rotations, get_args(Rotations)),
            ("--grain", self.grain, get_args(GrainChoice)),
            ("--disclose", self.disclose, get_args(Disclosure)),
            ("--precision", self.precision, get_args(PrecisionChoice)),
        ):
            if value not in allowed:
                raise UsageError(f"{field} {value} is unknown: choose one of {', '.join(allowed)}.")
