"""Pictures and faces whose truth is known by formula."""

import numpy as np

from restorer.faces import Face
from restorer.pipeline.align import template


def waves(width, height, frequency, seed=0, scale=1.0, offset=(0.0, 0.0)):
    """H×W×3 float64 in about 8..248: plane waves of at most ``frequency`` cycles per pixel of the unscaled picture.

    ``scale`` and ``offset`` place the pixel centres: column i is sampled at (i + 0.5) / scale - 0.5 + offset.
    """
    x = (np.arange(width) + 0.5) / scale - 0.5 + offset[0]
    y = (np.arange(height)[:, None] + 0.5) / scale - 0.5 + offset[1]
    return waves_at(np.broadcast_to(x, (height, width)), np.broadcast_to(y, (height, width)), frequency, seed)


def waves_at(x, y, frequency, seed=0, count=12):
    channels = []
    for channel in range(3):
        rng = np.random.default_rng([seed, channel])
        sizes, angles = rng.uniform(0.3, 1, count) * frequency, rng.uniform(0, 2 * np.pi, count)
        phases = rng.uniform(0, 2 * np.pi, count)
        total = sum(
            np.cos(2 * np.pi * f * (np.cos(a) * x + np.sin(a) * y) + p)
            for f, a, p in zip(sizes, angles, phases, strict=True)
        )
        channels.append(128 + 120 / count * total)
    return np.stack(channels, axis=-1)


def face_at(centre, scale, degrees=0.0, size=512):
    """A face whose crop of the given size has its middle at ``centre``, ``scale`` crop pixels per photograph pixel."""
    angle = np.deg2rad(degrees)
    # Crop to photograph: turned by the angle, 1 / scale photograph pixels per crop pixel.
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
    landmarks = (template(size) - (size - 1) / 2) @ turn.T + centre
    half = size / scale / 4
    x, y = centre
    return Face(box=(x - half, y - half, x + half, y + half), score=0.99, landmarks=landmarks.astype(np.float32))
