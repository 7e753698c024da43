"""Scenes without people, drawn at random: round and shaded things that a detector taught on portraits takes for faces.

Cups, plates and balls are shaded discs and rings; coins are embossed noise in a disc; lamps, stars and galaxies are
soft spots; veins, twigs and cracks are curves. What is drawn needs no licence and is never the same twice.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def scenery(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """Draw a scene: a shaded ground with one to nine things on it.

    Args:
        width: Pixels across.
        height: Pixels down.
        rng: Draws everything.

    Returns:
        RGB uint8, height×width×3.
    """
    canvas = _ground(width, height, rng)
    warm = rng.random() < 0.4  # skin's colours, the ones most easily taken for a face
    things = (_disc, _cup, _coin, _spots, _curves)
    largest = max(4.0, 0.9 * min(width, height))
    for _ in range(int(rng.integers(1, 10))):
        side = float(np.exp(rng.uniform(np.log(min(10.0, largest)), np.log(largest))))
        centre = rng.uniform(0, 1, 2) * (width, height)
        things[int(rng.integers(len(things)))](canvas, centre, side, _colour(rng, warm=warm), rng)
    if rng.random() < 0.3:  # a photograph's grain
        canvas += rng.normal(0, rng.uniform(2, 12), (height, width, 1)).astype(np.float32)
    if rng.random() < 0.3:
        canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.5, 2))), np.float32)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _colour(rng: np.random.Generator, *, warm: bool) -> Floats:
    if warm:
        red = rng.uniform(90, 250)
        return np.array([red, red * rng.uniform(0.55, 0.85), red * rng.uniform(0.35, 0.75)], np.float32)
    colour, grey = rng.uniform(0, 255, 3), rng.uniform(0, 255)
    return np.asarray(grey + (colour - grey) * rng.uniform(0, 0.8), np.float32)


def _ground(width: int, height: int, rng: np.random.Generator) -> Floats:
    """Return a plain, sloping or cloudy ground between two colours."""
    low, high = _colour(rng, warm=rng.random() < 0.3), _colour(rng, warm=rng.random() < 0.3)
    coarse = int(rng.choice((2, 3, 5, 9, 17)))
    wave = cv2.resize(rng.random((coarse, coarse), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    ground: Floats = low + (high - low) * np.clip(wave, 0, 1)[..., None]
    return ground


def _window(canvas: Floats, centre: NDArray[np.float64], side: float) -> tuple[Floats, Floats, Floats] | None:
    """Return the part of the canvas around a thing, and its pixels' places in units of half its side."""
    height, width = canvas.shape[:2]
    x0, y0 = (max(0, int(value - side)) for value in centre)
    x1, y1 = min(width, int(centre[0] + side) + 1), min(height, int(centre[1] + side) + 1)
    if x0 >= x1 or y0 >= y1:
        return None
    ys, xs = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    half = np.float32(side / 2)
    return canvas[y0:y1, x0:x1], (xs - np.float32(centre[0])) / half, (ys - np.float32(centre[1])) / half


def _oval(xs: Floats, ys: Floats, rng: np.random.Generator) -> Floats:
    """Return the distance from the middle of a turned oval: 1 at its edge."""
    angle, flat = rng.uniform(0, np.pi), rng.uniform(0.55, 1)
    along = xs * np.cos(angle) + ys * np.sin(angle)
    across = ys * np.cos(angle) - xs * np.sin(angle)
    return np.asarray(np.hypot(along, across / flat), np.float32)


def _mix(part: Floats, colour: Floats, mask: Floats) -> None:
    part += (colour - part) * mask[..., None]


def _edge(distance: Floats, side: float) -> Floats:
    """Return 1 inside and 0 outside, over about a pixel and a half."""
    return np.asarray(np.clip((1 - distance) * side / 3 + 0.5, 0, 1), np.float32)


def _light(xs: Floats, ys: Floats, rng: np.random.Generator) -> Floats:
    """Return a factor of brightness that falls from one side to the other."""
    angle, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.7)
    return np.asarray(1 + depth * (xs * np.cos(angle) + ys * np.sin(angle)) / 2, np.float32)


def _disc(canvas: Floats, centre: NDArray[np.float64], side: float, colour: Floats, rng: np.random.Generator) -> None:
    """A ball, a fruit, a plate: an oval, lit from one side, with a few marks."""
    window = _window(canvas, centre, side)
    if window is None:
        return
    part, xs, ys = window
    distance = _oval(xs, ys, rng)
    shaded = colour * _light(xs, ys, rng)[..., None]
    for _ in range(int(rng.integers(0, 5))):  # dents and spots, where a face has its eyes and mouth
        x, y, radius = rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.6), rng.uniform(0.05, 0.35)
        spot = np.exp(-((xs - x) ** 2 + ((ys - y) * rng.uniform(1, 3)) ** 2) / radius**2)
        shaded = shaded * (1 - rng.uniform(-0.5, 0.8) * spot[..., None])
    _mix(part, shaded.astype(np.float32), _edge(distance, side))


def _cup(canvas: Floats, centre: NDArray[np.float64], side: float, colour: Floats, rng: np.random.Generator) -> None:
    """A cup, a bowl, a wheel: rings in each other."""
    window = _window(canvas, centre, side)
    if window is None:
        return
    part, xs, ys = window
    distance, light = _oval(xs, ys, rng), _light(xs, ys, rng)[..., None]
    for scale in sorted(rng.uniform(0.15, 1, int(rng.integers(2, 5))), reverse=True):
        _mix(part, np.asarray(colour * light, np.float32), _edge(distance / np.float32(scale), side * scale))
        colour = np.clip(colour * rng.uniform(0.3, 1.8) + rng.normal(0, 15, 3), 0, 255).astype(np.float32)


def _coin(canvas: Floats, centre: NDArray[np.float64], side: float, colour: Floats, rng: np.random.Generator) -> None:
    """A coin, a stone, a crater: an oval of embossed noise."""
    window = _window(canvas, centre, side)
    if window is None:
        return
    part, xs, ys = window
    coarse = int(rng.choice((4, 6, 9, 14)))
    height, width = xs.shape
    relief = cv2.resize(rng.random((coarse, coarse), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    slope = cv2.Sobel(relief, cv2.CV_32F, 1, 0) * rng.normal() + cv2.Sobel(relief, cv2.CV_32F, 0, 1) * rng.normal()
    shade = 1 + np.clip(slope * side / coarse / 8, -0.8, 0.8) + (relief - 0.5) * rng.uniform(0, 0.6)
    _mix(part, np.asarray(colour * shade[..., None], np.float32), _edge(_oval(xs, ys, rng), side))


def _spots(canvas: Floats, centre: NDArray[np.float64], side: float, colour: Floats, rng: np.random.Generator) -> None:
    """Lamps, stars, galaxies, stains: soft spots in a cluster."""
    window = _window(canvas, centre, side)
    if window is None:
        return
    part, xs, ys = window
    for _ in range(int(rng.integers(1, 7))):
        x, y, radius, flat = rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0.8), rng.uniform(0.05, 0.5), rng.uniform(1, 3)
        angle = rng.uniform(0, np.pi)
        along = (xs - x) * np.cos(angle) + (ys - y) * np.sin(angle)
        across = ((ys - y) * np.cos(angle) - (xs - x) * np.sin(angle)) * flat
        _mix(part, colour, np.asarray(np.exp(-(along**2 + across**2) / radius**2) * rng.uniform(0.3, 1), np.float32))


def _curves(canvas: Floats, centre: NDArray[np.float64], side: float, colour: Floats, rng: np.random.Generator) -> None:
    """Veins, twigs, cracks, wires: random walks from one place."""
    for _ in range(int(rng.integers(1, 6))):
        turns = np.cumsum(rng.normal(0, 0.35, 24)) + rng.uniform(0, 2 * np.pi)
        steps = np.stack([np.cos(turns), np.sin(turns)], axis=1) * side / 16
        path = np.rint(centre + np.cumsum(steps, axis=0)).astype(np.int32)
        thick = max(1, round(side / rng.uniform(15, 80)))
        cv2.polylines(canvas, [path], False, [float(value) for value in colour], thick, cv2.LINE_AA)
