"""What a network expects and gives, as plain values that need no torch.

A contract travels with the weights and with a saved OpenVINO network, so that the CPU way never imports torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

NetworkKind = Literal["face", "detector", "parser", "upsampler", "identity"]
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class NetworkContract:
    """Input and output of one network, NCHW float32 at the engine's boundary."""

    architecture: str
    """Name of the architecture, such as ``gfpgan`` or ``retinaface-mobilenet0.25``."""
    kind: NetworkKind
    """The pipeline step that uses it."""
    colour_order: Literal["rgb", "bgr"] = "rgb"
    """Order of the input's channels (and of the output's, where it is an image)."""
    scale: float = 1.0
    """Input value = (pixel in 0..255 − mean) × scale, per channel in ``colour_order``."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Subtracted from pixels in 0..255 before ``scale``."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Divides after ``mean`` and ``scale`` (1 for all but networks with ImageNet statistics)."""
    input_size: int | None = None
    """Fixed side of the square input in pixels; None: any size that is a multiple of ``size_multiple``."""
    size_multiple: int = 1
    """Height and width must be multiples of this."""
    upscale: int = 1
    """Output side divided by input side, for image-to-image networks."""
    precisions: tuple[Precision, ...] = ("fp32",)
    """Precisions in which the numbers are good enough, best first for speed."""

    upright_score: float = 0.998
    """Of a detector: the score that it gives to nearly every face that stands upright in a view of the best size, and
    to hardly one that lies in it."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NetworkContract:
        """Rebuild a contract from :meth:`to_dict`'s values (lists become tuples)."""
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**plain)
