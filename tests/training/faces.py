"""Small drawn faces and a small recipe for the training tests."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from restorer.networks.gfpgan import GFPGANSizes
from restorer.training.dataset import AlignedCrop
from restorer.training.settings import RestorationSettings

POINTS = np.array([[24, 30], [40, 30], [32, 40], [26, 46], [38, 46]], np.float32)
SIZES = GFPGANSizes(
    out_size=64,
    style_dim=16,
    prior_channels=(16, 16, 16, 8),
    unet_channels=(8, 8, 8, 4),
    mlp_layers=0,
    patch=2,
    residual=True,
)


def drawn_face(seed: int, size: int = 64) -> AlignedCrop:
    """An oval with eyes and a mouth, in colours of its own."""
    rng = np.random.default_rng(seed)
    pixels = np.full((size, size, 3), rng.integers(40, 90, 3), np.uint8)
    skin = tuple(int(value) for value in rng.integers(120, 230, 3))
    cv2.ellipse(pixels, (size // 2, size // 2), (size // 3, size * 2 // 5), 0, 0, 360, skin, -1, cv2.LINE_AA)
    for x, y in POINTS[:2].astype(int):
        cv2.circle(pixels, (int(x), int(y)), 3, (20, 20, 20), -1, cv2.LINE_AA)
    cv2.line(pixels, (26, 46), (38, 46), (150, 30, 40), 2, cv2.LINE_AA)
    return AlignedCrop(f"face{seed}.png", pixels, POINTS.copy())


def write_zip(path: Path, faces: list[AlignedCrop]) -> Path:
    """A zip as `load_faces` reads it."""
    with zipfile.ZipFile(path, "w") as archive:
        rows = [{"file": face.name, "points": face.points.tolist()} for face in faces]
        archive.writestr("manifest.json", json.dumps(rows))
        for face in faces:
            file = BytesIO()
            Image.fromarray(face.pixels).save(file, "PNG")
            archive.writestr(face.name, file.getvalue())
    return path


def tiny_settings(**changes: object) -> RestorationSettings:
    """A run of a few images."""
    values: dict[str, object] = {"sizes": SIZES, "images": 16, "batch": 2, "warmup": 2, "bf16": False, "save_every": 4}
    return RestorationSettings(**(values | changes))  # type: ignore[arg-type]
