"""Faces, photographs and weights to measure with, all made here from the portrait in the project's own demo picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from restorer.faces import AlignedFace, Face
from restorer.networks.gfpgan import GFPGAN, GFPGANSizes
from restorer.photo import read_photo

DEMO = Path(__file__).resolve().parents[2] / ".github" / "demo.jpg"


def portrait() -> NDArray[np.uint8]:
    """Return NASA's portrait of Eileen Collins, degraded: the left half of the demo picture, 600×600×3 RGB."""
    pixels: NDArray[np.uint8] = read_photo(DEMO).pixels[:600, :600]
    return pixels


def crops(count: int, side: int = 512) -> list[NDArray[np.float32]]:
    """Return square faces, RGB 0..255, each damaged in its own way: blur, noise, JPEG, light, grey."""
    rng = np.random.default_rng(7)
    face = cv2.resize(portrait()[40:400, 110:470], (side, side), interpolation=cv2.INTER_CUBIC)
    made = []
    for number in range(count):
        picture = cv2.GaussianBlur(face, (0, 0), float(rng.uniform(0.5, 6))).astype(np.float32)
        picture = picture[:, ::-1] if number % 2 else picture
        picture = (picture - 128) * rng.uniform(0.2, 1.3) + rng.uniform(20, 220)
        if number % 4 == 3:
            picture = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
        picture = np.clip(picture + rng.normal(0, rng.uniform(0, 25), picture.shape), 0, 255).astype(np.uint8)
        coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 95))])[1]
        made.append(cv2.imdecode(coded, cv2.IMREAD_COLOR).astype(np.float32))
    return made


def aligned(pictures: list[NDArray[np.float32]]) -> list[AlignedFace]:
    """Return crops as the pipeline hands them to the face network."""
    face = Face((0.0, 0.0, 512.0, 512.0), 0.99, np.zeros((5, 2), np.float32))
    return [AlignedFace(face, picture, np.eye(2, 3)) for picture in pictures]


def album(folder: Path, count: int, megapixels: tuple[float, float]) -> None:
    """Fill a folder with JPEG photographs of one to four faces on a soft background."""
    rng = np.random.default_rng(3)
    folder.mkdir(parents=True)
    head = portrait()[:420, 90:490]
    for number in range(count):
        area = float(rng.uniform(*megapixels)) * 1e6
        width, height = round((area * 4 / 3) ** 0.5), round((area * 3 / 4) ** 0.5)
        picture = cv2.resize(rng.integers(60, 200, (6, 8, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
        for column in range(1 + number % 4):
            side = int(min(height * 0.5, width / 4 * 0.9))
            x, y = column * (width // 4) + 4, int(rng.integers(0, height - side))
            picture[y : y + side, x : x + side] = cv2.resize(head, (side, side), interpolation=cv2.INTER_AREA)
        coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
        (folder / f"{number:04d}.jpg").write_bytes(coded.tobytes())


def random_weights(path: Path, *, side: int = 512, narrow: float = 1.0) -> Path:
    """Write a GFP-GAN with random weights, by default in the published sizes: as fast as a trained one.

    It adds its input to its output, so that what comes out is a picture, as from a trained one.
    """
    torch.manual_seed(0)
    sizes = GFPGANSizes(**{**GFPGANSizes.official(side, narrow=narrow).to_dict(), "residual": True})
    module = GFPGAN(sizes).initialise()
    torch.save({"params_ema": module.state_dict(), "restorer": {"sizes": sizes.to_dict()}}, path)
    return path
