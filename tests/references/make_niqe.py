"""Make niqe.json: distances that BasicSR's NIQE gives, for tests of this project's own.

BasicSR 1.4.2 from PyPI, with SciPy's former module names put in where they are gone. The pristine statistics are made
up (mean zero, covariance one), because the real ones are not part of this project. Run from the top folder:
``python -m tests.references.make_niqe``.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np
import scipy.ndimage

from tests.references.niqe_cases import PICTURES

OUTPUT = Path(__file__).with_name("niqe.json")


def main() -> None:
    filters = types.ModuleType("scipy.ndimage.filters")
    filters.convolve = scipy.ndimage.convolve  # type: ignore[attr-defined]
    sys.modules.setdefault("scipy.ndimage.filters", filters)
    transforms = types.ModuleType("torchvision.transforms.functional_tensor")
    from torchvision.transforms.functional import rgb_to_grayscale

    transforms.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules.setdefault("torchvision.transforms.functional_tensor", transforms)
    from basicsr.metrics import niqe as theirs
    from basicsr.metrics.metric_util import to_y_channel

    line = np.exp(-0.5 * (np.arange(-3, 4) / (7 / 6)) ** 2)
    window = np.outer(line, line) / line.sum() ** 2
    found = {}
    for name, make in PICTURES.items():
        bgr = np.ascontiguousarray(make()[..., ::-1]).astype(np.float32)
        plane = np.squeeze(to_y_channel(bgr)).round().astype(np.float64)
        found[name] = theirs.niqe(plane, np.zeros((1, 36)), np.eye(36), window)
    OUTPUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
