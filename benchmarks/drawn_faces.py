"""Count the false decisions of the rule for engraved and drawn faces, on pictures that it was not made with.

    python benchmarks/drawn_faces.py val-512.zip --sheet kinds.png

The faces are a zip or folder of aligned 512×512 crops with a manifest.json, as `restorer train` reads them. Each is
engraved and drawn in seven ways: lines that swell with the darkness, straight, along the form, crossed and short; dots
set by hand; a woodcut; pencil. Each is photographed and printed in ten: as it is, with film grain of several strengths
and sizes, sharpened, on patterned paper, under printing screens of dots and of lines, as random dots, copied to black
and white. All are scanned: blurred by less than a pixel, made a little noisy, coded as JPEG.

A line a kind: how many count as drawn, how many as sharp (which are left alone, too), how many are restored.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from restorer.pipeline.drawing import is_drawn  # noqa: E402
from restorer.pipeline.sharpness import measure  # noqa: E402
from restorer.training.dataset import load_faces  # noqa: E402

Floats = NDArray[np.float32]
SIDE, FINE = 512, 3
"""Side of the scans, and pixels that are drawn for one of the scan's."""
PAPER, INK = 235.0, 28.0
"""Levels of paper and ink in a scan."""
Make = Callable[[Floats, np.random.Generator], Floats]
"""Makes a picture, FINE×SIDE square in 0..1, of a face's lightness, SIDE square in 0..1."""


def enlarged(values: Floats) -> Floats:
    """Return a picture at the size at which it is drawn."""
    return np.asarray(cv2.resize(values, (FINE * SIDE, FINE * SIDE), interpolation=cv2.INTER_CUBIC), np.float32)


def smooth_noise(rng: np.random.Generator, sigma: float, side: int = FINE * SIDE) -> Floats:
    """Return noise of standard deviation 1 that changes over some sigma pixels."""
    shrink = max(1, int(sigma // 2))
    small = rng.standard_normal((side // shrink + 1, side // shrink + 1)).astype(np.float32)
    small = cv2.GaussianBlur(small, (0, 0), sigma / shrink)
    large = cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(large / large.std(), np.float32)


def places() -> tuple[Floats, Floats]:
    """Return x and y in pixels of the scan, at the size at which is drawn."""
    y, x = np.mgrid[: FINE * SIDE, : FINE * SIDE].astype(np.float32) / FINE
    return x, y


# Drawn


def prepared(lightness: Floats) -> Floats:
    """Return what an engraver makes of a face: more contrast, fine detail simplified."""
    soft = cv2.bilateralFilter(lightness, 9, 0.15, 4)
    low, high = np.quantile(soft, (0.03, 0.9))
    return enlarged(np.clip((soft - low) / (high - low), 0, 1))


def hatching(tone: Floats, angle: float, spacing: float, rng: np.random.Generator, bend: float = 0.0) -> Floats:
    """Return lines, 1 on ink, as wide as the tone is dark; bent along its form."""
    x, y = places()
    form = cv2.GaussianBlur(tone, (0, 0), 12 * FINE)
    wander = 0.25 * spacing * smooth_noise(rng, 30 * FINE) + bend * form
    phase = (x * np.cos(angle) + y * np.sin(angle) + wander) / spacing
    width = (1 - tone) * (1 + 0.12 * smooth_noise(rng, 2 * FINE))
    return np.asarray(np.abs(phase - np.rint(phase)) * 2 < width, np.float32)


def straight(tone: Floats, rng: np.random.Generator) -> Floats:
    """Engrave with straight lines."""
    return 1 - hatching(prepared(tone), float(rng.uniform(0, np.pi)), float(rng.uniform(4, 8)), rng)


def along_the_form(tone: Floats, rng: np.random.Generator) -> Floats:
    """Engrave with lines that bend around cheeks and brows."""
    bend = float(rng.uniform(30, 60))
    return 1 - hatching(prepared(tone), float(rng.uniform(0, np.pi)), float(rng.uniform(4, 8)), rng, bend)


def crossed(tone: Floats, rng: np.random.Generator) -> Floats:
    """Engrave with thin lines in as many directions as it is dark."""
    light, angle = prepared(tone), float(rng.uniform(0, np.pi))
    spacing, bend = float(rng.uniform(4, 7)), float(rng.uniform(0, 40))
    ink = np.zeros_like(light)
    for number, (start, full) in enumerate(((1.0, 0.55), (0.65, 0.3), (0.35, 0.1))):
        depth = np.clip((start - light) / (start - full), 0, 1)
        lines = hatching(1 - 0.5 * depth, angle + number * 0.9, spacing, rng, bend)
        ink = np.maximum(ink, lines * (depth > 0.05))
    return 1 - ink


def short(tone: Floats, rng: np.random.Generator) -> Floats:
    """Draw with a pen: short strokes, scattered, in the directions of the form."""
    light = prepared(tone)
    ink = np.zeros((FINE * SIDE, FINE * SIDE), np.float32)
    direction = 1.3 * smooth_noise(rng, 40 * FINE) + rng.uniform(0, np.pi)
    for x, y in rng.integers(0, FINE * SIDE, (16000, 2)):
        if light[y, x] < rng.uniform(0.0, 1.0):
            turn = direction[y, x] + rng.normal(0, 0.12)
            long = FINE * rng.uniform(5, 14) / 2
            across = np.array([np.cos(turn), np.sin(turn)]) * long
            start, end = (np.rint((x, y) + sign * across).astype(int).tolist() for sign in (-1, 1))
            cv2.line(ink, start, end, 1.0, int(rng.integers(2, 6)))
    return 1 - ink


def dotted(tone: Floats, rng: np.random.Generator) -> Floats:
    """Set dots by hand, none beside another, closer where it is dark."""
    light = prepared(tone)
    ink = np.zeros((FINE * SIDE, FINE * SIDE), np.float32)
    cell = FINE * float(rng.uniform(3.0, 4.5))
    rows = np.arange(0, FINE * SIDE - cell, cell)
    for row in rows:
        for column in rows:
            x, y = (int(v + rng.uniform(0, cell)) for v in (column, row))
            dark = 1 - light[y, x]
            if dark > rng.uniform(0.05, 0.2):
                cv2.circle(ink, (x, y), round(cell * (0.15 + 0.5 * dark)), 1.0, -1)
    return 1 - ink


def woodcut(tone: Floats, rng: np.random.Generator) -> Floats:
    """Cut into wood: wide lines, and areas of black and of white."""
    light = prepared(cv2.GaussianBlur(tone, (0, 0), 1.5))
    lines = hatching(np.clip(light * 1.4 - 0.2, 0, 1), float(rng.uniform(0, np.pi)), float(rng.uniform(8, 13)), rng, 40)
    return 1 - np.where(light < 0.15, 1, np.where(light > 0.85, 0, lines)).astype(np.float32)


def pencil(tone: Floats, rng: np.random.Generator) -> Floats:
    """Draw with a pencil on rough paper: strokes of grey."""
    light = prepared(tone)
    fibres = cv2.GaussianBlur(rng.standard_normal((FINE * SIDE, FINE * SIDE)).astype(np.float32), (0, 0), 1.2 * FINE)
    strokes = np.zeros((61, 61), np.float32)
    cv2.line(strokes, (5, 50), (55, 10), 1.0, 2)
    noise = cv2.filter2D(rng.standard_normal((FINE * SIDE, FINE * SIDE)).astype(np.float32), -1, strokes)
    rough = 0.6 * noise / noise.std() + 0.6 * fibres / fibres.std()
    return np.asarray(1 - np.clip((1 - light) * (0.75 + 0.5 * rough), 0, 0.9), np.float32)


# Photographed


def plain(tone: Floats, rng: np.random.Generator) -> Floats:
    """Leave the photograph as it is."""
    return enlarged(tone)


def grained(levels: float, size: float, sharpened: float = 0.0) -> Make:
    """Return what lays film grain of a strength in levels and a size in pixels over a photograph, and sharpens it."""

    def make(tone: Floats, rng: np.random.Generator) -> Floats:
        grain = rng.standard_normal((SIDE, SIDE)).astype(np.float32)
        grain = cv2.GaussianBlur(grain, (0, 0), size) if size else grain
        shadows = 0.6 + 0.8 * np.sqrt(np.clip(4 * tone * (1 - tone), 0, 1))  # most in the mid-tones
        noisy = tone + levels / 255 * grain / grain.std() * shadows
        noisy = noisy + sharpened * (noisy - cv2.GaussianBlur(noisy, (0, 0), 1.0))
        return enlarged(np.clip(noisy, 0, 1).astype(np.float32))

    return make


def patterned(tone: Floats, rng: np.random.Generator) -> Floats:
    """Print on paper with a relief of honeycombs, lit from one side."""
    x, y = places()
    cell = float(rng.uniform(5, 9))
    waves = [np.cos(2 * np.pi * (x * np.cos(a) + y * np.sin(a)) / cell) for a in np.array((0.2, 1.247, 2.294))]
    relief = np.asarray(sum(waves), np.float32)
    lit = relief - np.roll(relief, (FINE, FINE), (0, 1))
    return np.asarray(np.clip(enlarged(tone) + float(rng.uniform(0.05, 0.12)) * lit, 0, 1), np.float32)


def screened(tone: Floats, rng: np.random.Generator) -> Floats:
    """Print through a screen of dots, on paper that is not quite flat."""
    x, y = places()
    cell, angle = float(rng.uniform(3, 8)), float(rng.choice([np.pi / 4, np.pi / 4, rng.uniform(0, np.pi)]))
    x, y = x + 0.8 * smooth_noise(rng, 80 * FINE), y + 0.8 * smooth_noise(rng, 80 * FINE)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    dots = (np.cos(2 * np.pi * u / cell) + np.cos(2 * np.pi * v / cell)) / 4 + 0.5
    return np.asarray(enlarged(tone) > dots, np.float32)


def line_screened(tone: Floats, rng: np.random.Generator) -> Floats:
    """Print through a screen of ruled lines."""
    x, y = places()
    cell, angle = float(rng.uniform(3, 7)), float(rng.uniform(0, np.pi))
    lines = np.cos(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / cell) / 2 + 0.5
    return np.asarray(enlarged(tone) > lines, np.float32)


def random_dots(tone: Floats, rng: np.random.Generator) -> Floats:
    """Print as dots of one size set by chance."""
    fine = rng.standard_normal((FINE * SIDE, FINE * SIDE)).astype(np.float32)
    noise = cv2.GaussianBlur(fine, (0, 0), FINE * 0.4) - cv2.GaussianBlur(fine, (0, 0), FINE * 1.2)
    ranks = np.argsort(np.argsort(noise, axis=None)).reshape(noise.shape) / noise.size
    return np.asarray(enlarged(tone) > ranks, np.float32)


def copied(tone: Floats, rng: np.random.Generator) -> Floats:
    """Copy to black and white, with the specks that grain leaves."""
    grain = cv2.GaussianBlur(rng.standard_normal((SIDE, SIDE)).astype(np.float32), (0, 0), 0.8)
    return np.asarray(enlarged(tone + 0.06 * grain / grain.std()) > float(np.median(tone)), np.float32)


DRAWN: dict[str, Make] = {
    "straight lines": straight,
    "lines along the form": along_the_form,
    "crossed lines": crossed,
    "pen strokes": short,
    "dots by hand": dotted,
    "woodcut": woodcut,
    "pencil": pencil,
}
PHOTOGRAPHED: dict[str, Make] = {
    "as it is": plain,
    "fine grain, 6": grained(6, 0.0),
    "fine grain, 15": grained(15, 0.0),
    "grain, 10": grained(10, 0.8),
    "grain, 20": grained(20, 0.8),
    "coarse grain, 15": grained(15, 1.5),
    "grain, 10, sharpened": grained(10, 0.8, 1.5),
    "fine grain, 10, sharp.": grained(10, 0.0, 1.0),
    "patterned paper": patterned,
    "screen of dots": screened,
    "screen of lines": line_screened,
    "random dots": random_dots,
    "copied, black/white": copied,
}


def scanned(picture: Floats, rng: np.random.Generator) -> Floats:
    """Return a picture's scan: SIDE×SIDE×3 in 0..255."""
    soft = cv2.GaussianBlur(picture, (0, 0), FINE * float(rng.uniform(0.25, 0.7)))
    small = cv2.resize(soft, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    levels = INK + (PAPER - INK) * small + rng.normal(0, rng.uniform(0.5, 3), small.shape)
    grey = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    coded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(75, 96))])[1]
    return np.repeat(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)[..., None], 3, axis=2).astype(np.float32)


def decision(scan: Floats) -> str:
    """Return what becomes of a face in a black-and-white photograph."""
    found = measure(scan)
    if found.sharp:
        return "sharp"
    return "drawn" if is_drawn(found.brightness, found.steepness, found.texture) else "restored"


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--count", type=int, default=None, help="only the first N faces")
    parser.add_argument("--skip", type=int, default=0, help="... after these")
    parser.add_argument("--kinds", help="only these, separated by semicolons, such as 'woodcut;pencil'")
    parser.add_argument("--sheet", type=Path, help="write one picture of each kind")
    arguments = parser.parse_args()
    faces = load_faces(arguments.faces)[arguments.skip :][: arguments.count]
    shown = []
    for group, kinds in (("drawn", DRAWN), ("photographed", PHOTOGRAPHED)):
        print(f"{group:24}{'drawn':>7}{'sharp':>7}{'restored':>10}")
        counts = {"drawn": 0, "sharp": 0, "restored": 0}
        for place, (kind, make) in enumerate(kinds.items()):
            if arguments.kinds and kind not in arguments.kinds.split(";"):
                continue
            found = {"drawn": 0, "sharp": 0, "restored": 0}
            for number, face in enumerate(faces, arguments.skip):
                rng = np.random.default_rng([place, number, len(group)])
                tone = cv2.cvtColor(face.pixels, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
                scan = scanned(make(tone, rng), rng)
                found[decision(scan)] += 1
                shown += [(kind, scan)] if number == arguments.skip else []
            counts = {name: counts[name] + found[name] for name in counts}
            print(f"  {kind:22}{found['drawn']:7}{found['sharp']:7}{found['restored']:10}", flush=True)
        print(f"  {'all':22}{counts['drawn']:7}{counts['sharp']:7}{counts['restored']:10}")
    if arguments.sheet:
        sheet(arguments.sheet, shown)


def sheet(path: Path, shown: list[tuple[str, Floats]]) -> None:
    """Write the middle of one picture of each kind, at its own size."""
    across, side = 5, 320
    picture = Image.new("RGB", (across * side, -(-len(shown) // across) * (side + 16)), "white")
    for number, (kind, scan) in enumerate(shown):
        x, y = number % across * side, number // across * (side + 16)
        part = scan[(SIDE - side) // 2 + 40 :, (SIDE - side) // 2 :][:side, :side]
        picture.paste(Image.fromarray(part.astype(np.uint8)), (x, y + 16))
        ImageDraw.Draw(picture).text((x + 4, y + 2), kind, fill="black")
    picture.save(path)


if __name__ == "__main__":
    main()
