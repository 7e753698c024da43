"""Count the false decisions of the rule for faces that are sharp already.

    python benchmarks/sharp_faces.py val-512.zip

The faces are a zip or folder of aligned 512×512 crops with a manifest.json, as `restorer train` reads them. As they are
they count as sharp; degraded with fixed seeds as the training degrades them, as not sharp.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from restorer.pipeline.sharpness import SHARP, measure
from restorer.training.dataset import load_faces
from restorer.training.degradations import PRESETS, degrade


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--count", type=int, default=None, help="only the first N faces")
    parser.add_argument("--draws", type=int, default=4, help="degradations of each face")
    arguments = parser.parse_args()
    faces = load_faces(arguments.faces)[: arguments.count]
    missed = [face.name for face in faces if not measure(face.pixels.astype(np.float32)).sharp]
    print(f"{len(faces)} faces, ratio at least {SHARP}")
    print(f"{'undegraded':12}{len(missed):5} of {len(faces):5} not called sharp  {len(missed) / len(faces):7.1%}")
    for name, settings in PRESETS.items():
        total = wrong = 0
        for number, face in enumerate(faces):
            for draw in range(arguments.draws):
                crop = degrade(face.pixels, settings, np.random.default_rng([draw, number]))
                total += 1
                wrong += measure(crop.astype(np.float32)).sharp
        print(f"{name:12}{wrong:5} of {total:5} called sharp      {wrong / total:7.1%}")


if __name__ == "__main__":
    main()
