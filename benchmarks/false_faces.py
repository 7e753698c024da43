"""Count what a detector takes for faces on pictures that come with scikit-image, nearly all of them without people.

    python benchmarks/false_faces.py --detector detector-lite

A line for each picture with something at or above --threshold: how many, and the highest score. `astronaut` has one
face, `camera` a man seen from the side, `coins` the heads of emperors; all else is false. The look at each face cut out
upright, which comes before it is restored, is not part of this.
"""

from __future__ import annotations

import argparse

import numpy as np
from skimage import data

from restorer.options import RestoreOptions
from restorer.pipeline.networks import OpenedNetworks

PICTURES = (
    *("astronaut", "brick", "camera", "chelsea", "checkerboard", "clock", "coffee", "coins", "colorwheel", "grass"),
    *("gravel", "horse", "hubble_deep_field", "immunohistochemistry", "moon", "page", "retina", "rocket", "text"),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", default="detector-lite", help="a name or file")
    parser.add_argument("--threshold", type=float, default=0.9)
    arguments = parser.parse_args()
    options = RestoreOptions(offline=True, device="cpu", det_threshold=arguments.threshold)
    find = OpenedNetworks(options, detector=arguments.detector).find()
    for name in PICTURES:
        picture = getattr(data, name)()
        picture = (picture * 255 if picture.dtype == bool else picture).astype(np.uint8)
        picture = np.stack([picture] * 3, axis=-1) if picture.ndim == 2 else picture[..., :3]
        scores = [face.score for face in find(np.ascontiguousarray(picture))]
        if scores:
            print(f"{name:22}{len(scores):4}  {max(scores):.2f}")
    print(f"{len(PICTURES)} pictures")


if __name__ == "__main__":
    main()
