"""Measure what restoration does to glasses, to what lies in front of faces, and to faces that look aside or lie.

    python benchmarks/hidden_faces.py val-512.zip --count 8 --sheets sheets/

Real faces get something drawn in front of them: frames of two strengths, dark glasses, a bar over the eyes, strands
of hair, a cloth over mouth and nose, fingers, a post before half of the face, a brim. Others are turned aside: laid
over a head's shape, turned about its upright axis and looked at again, with the far half hidden by the near one. Others
are tilted, up to upside down. Each becomes a photograph: set into a scene, blurred, reduced to a quarter of its sides,
made noisy and coded as JPEG. The command restores them all.

A line a kind: how many faces were found and restored; `wrong`, how many were restored on points that lie elsewhere by
more than 0.3 of the distance from eyes to mouth, so that the face was painted askew; `points`, the error of those
points in parts of that distance; `scale`, how much larger a face is in its crop than in the crop of the same face seen
from the front; and inside what was drawn (for turned and tilted faces: inside the face)

- `error`: root mean square difference from the undegraded picture, restored divided by plainly enlarged: below 1, what
  lies in front came out nearer to the truth than it was;
- `moved`: root mean square of what changed at a scale that the degradation had left alone (a Gaussian of 6 pixels of
  the result), in levels of 255: what was painted over;
- `faces`: the same within the same area of the same faces with nothing before them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from restorer.pipeline.align import TEMPLATE, similarity  # noqa: E402
from restorer.resample import magnification  # noqa: E402
from restorer.training.dataset import AlignedCrop, load_faces  # noqa: E402
from restorer.training.turning import turned  # noqa: E402

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
SIDE = 512
SUBPIXELS = 4
"""Bits after the point in the coordinates that OpenCV draws at."""
NOISE, QUALITY, BLUR = 6.0, 55, 2.0
"""Standard deviation in levels, JPEG quality, and standard deviation in pixels of the truth."""
REDUCED = 4
"""Sides of the truth in sides of its photograph, and the command's --upscale."""
SCENE = 1.5
"""Side of the scene in sides of the crop."""
COARSE = 6.0
TURNS = (20, 40, 60, 75)
"""Degrees by which faces are turned aside."""
TILTS = (45, 90, 135, 180)
"""Degrees by which faces are tilted."""
WRONG = 0.3
"""Parts of the distance from eyes to mouth."""


@dataclass(frozen=True)
class Subject:
    """A picture of a face, and what is judged in it."""

    kind: str
    name: str
    pixels: Pixels
    area: NDArray[np.bool_]
    points: Floats
    tilt: float = 0.0
    """Degrees by which the photograph is turned."""


# What lies in front of faces


@dataclass(frozen=True)
class Canvas:
    """A face being drawn on, in units of its eye distance, about the middle of its eyes."""

    pixels: Floats
    points: Floats
    rng: np.random.Generator

    def at(self, across: float, down: float) -> tuple[int, int]:
        """Return a place as OpenCV's drawing functions take it."""
        left, right = self.points[0], self.points[1]
        axis = right - left
        place = (left + right) / 2 + across * axis + down * np.array([-axis[1], axis[0]])
        return tuple(round(float(value) * 2**SUBPIXELS) for value in place)  # type: ignore[return-value]

    @property
    def unit(self) -> float:
        """The eye distance in pixels."""
        return float(np.linalg.norm(self.points[1] - self.points[0]))

    def width(self, units: float) -> int:
        """Return the thickness of a line."""
        return max(1, round(units * self.unit))


Shape = Callable[[Canvas, Pixels], None]
"""Draws 255 into a mask."""


def _lenses(canvas: Canvas, mask: Pixels, thickness: float) -> None:
    radii = tuple(round(part * canvas.unit * 2**SUBPIXELS) for part in (0.38, 0.30))
    line = -1 if thickness < 0 else canvas.width(thickness)
    for across in (-0.5, 0.5):
        cv2.ellipse(mask, canvas.at(across, 0.05), radii, 0, 0, 360, 255, line, cv2.LINE_AA, SUBPIXELS)  # type: ignore[arg-type]
    bridge = canvas.width(abs(thickness) if thickness > 0 else 0.06)
    for start, end in (((-0.13, -0.02), (0.13, -0.02)), ((-0.88, 0), (-1.15, -0.06)), ((0.88, 0), (1.15, -0.06))):
        cv2.line(mask, canvas.at(*start), canvas.at(*end), 255, bridge, cv2.LINE_AA, SUBPIXELS)


def _bar(canvas: Canvas, mask: Pixels) -> None:
    corners = [canvas.at(*place) for place in ((-1.1, -0.25), (1.1, -0.25), (1.1, 0.25), (-1.1, 0.25))]
    cv2.fillConvexPoly(mask, np.array(corners), 255, cv2.LINE_AA, SUBPIXELS)


def _strands(canvas: Canvas, mask: Pixels) -> None:
    for _ in range(26):
        start, bend = canvas.rng.uniform(-0.9, 0.0), canvas.rng.uniform(-0.15, 0.35)
        along = np.linspace(0, 1, 20)
        places = [canvas.at(start + bend * t + 0.25 * t * t - 0.1, -1.1 + 2.0 * t) for t in along]
        line = canvas.width(float(canvas.rng.uniform(0.012, 0.035)))
        cv2.polylines(mask, [np.array(places)], False, 255, line, cv2.LINE_AA, SUBPIXELS)


def _cloth(canvas: Canvas, mask: Pixels) -> None:
    places = ((-1.2, 0.55), (0, 0.42), (1.2, 0.55), (1.05, 1.7), (0, 2.05), (-1.05, 1.7))
    cv2.fillPoly(mask, [np.array([canvas.at(*place) for place in places])], 255, cv2.LINE_AA, SUBPIXELS)


def _fingers(canvas: Canvas, mask: Pixels) -> None:
    for number in range(4):
        down = 0.55 + 0.24 * number
        ends = canvas.at(-1.5, down + 0.25), canvas.at(0.35 - 0.12 * abs(number - 1), down)
        cv2.line(mask, *ends, 255, canvas.width(0.2), cv2.LINE_AA, SUBPIXELS)


def _post(canvas: Canvas, mask: Pixels) -> None:
    places = ((0.12, -2.5), (2.5, -2.5), (2.5, 3.5), (0.12, 3.5))
    cv2.fillConvexPoly(mask, np.array([canvas.at(*place) for place in places]), 255, cv2.LINE_AA, SUBPIXELS)


def _brim(canvas: Canvas, mask: Pixels) -> None:
    radii = tuple(round(part * canvas.unit * 2**SUBPIXELS) for part in (1.5, 0.9))
    cv2.ellipse(mask, canvas.at(0, -1.0), radii, 0, 0, 360, 255, -1, cv2.LINE_AA, SUBPIXELS)  # type: ignore[arg-type]


SHAPES: dict[str, tuple[Shape, tuple[int, int, int], float]] = {
    "thin glasses": (lambda canvas, mask: _lenses(canvas, mask, 0.035), (70, 55, 45), 0.0),
    "thick glasses": (lambda canvas, mask: _lenses(canvas, mask, 0.10), (25, 22, 22), 0.0),
    "dark glasses": (lambda canvas, mask: _lenses(canvas, mask, -1), (22, 20, 24), 0.0),
    "bar": (_bar, (0, 0, 0), 0.0),
    "strands": (_strands, (45, 32, 24), 0.0),
    "cloth": (_cloth, (60, 90, 150), 22.0),
    "fingers": (_fingers, (0, 0, 0), 0.0),
    "post": (_post, (140, 125, 105), 14.0),
    "brim": (_brim, (70, 60, 40), 12.0),
}
"""Shape, colour, and the strength of a woven pattern in levels."""


def hidden(face: AlignedCrop, kind: str, rng: np.random.Generator) -> Subject:
    """Draw something in front of a face."""
    shape, colour, weave = SHAPES[kind]
    canvas = Canvas(face.pixels.astype(np.float32), face.points, rng)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    shape(canvas, mask)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    paint = np.empty((SIDE, SIDE, 3), np.float32)
    paint[:] = colour
    paint += (weave * np.sin(2 * np.pi * x / 9) * np.sin(2 * np.pi * y / 9))[..., None]
    if kind == "fingers":  # skin, darker towards their edges
        depth = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 5)
        skin = np.median(face.pixels[int(face.points[2, 1]) - 30 : int(face.points[2, 1])].reshape(-1, 3), axis=0)
        skin = np.median(face.pixels[280:330, 180:230].reshape(-1, 3), axis=0) if skin.max() < 40 else skin
        paint[:] = skin * (0.45 + 0.6 * np.clip(depth / (0.1 * canvas.unit), 0, 1))[..., None]
    share = mask.astype(np.float32)[..., None] / 255
    pixels = np.clip(np.rint(canvas.pixels * (1 - share) + paint * share), 0, 255).astype(np.uint8)
    return Subject(kind, face.name, pixels, mask > 127, face.points)


# Faces that look aside


def aside(face: AlignedCrop, degrees: float) -> Subject:
    """Turn a face aside; what the nearer side hides is gone."""
    pixels, points, head = turned(face.pixels, face.points, degrees)
    return Subject(f"turned {abs(degrees)}°", face.name, pixels, head, points)


# Photographs


def photographs(subject: Subject, side: int, rng: np.random.Generator) -> tuple[Pixels, Pixels, NDArray[np.bool_]]:
    """Set a subject into a scene; return the truth, its photograph, and the area that is judged."""
    room = round(side * SCENE / REDUCED) * REDUCED
    scene = cv2.resize(rng.integers(60, 200, (6, 6, 3), np.uint8), (room, room), interpolation=cv2.INTER_CUBIC)
    corner = (room - side) // 2
    place = np.s_[corner : corner + side, corner : corner + side]
    truth = scene.copy()
    truth[place] = cv2.resize(subject.pixels, (side, side), interpolation=cv2.INTER_AREA)
    area = np.zeros((room, room), bool)
    area[place] = cv2.resize(subject.area.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST) > 0
    if subject.tilt:
        turn, size = tilting(room, subject.tilt), (room, room)
        truth = cv2.warpAffine(truth, turn, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        area = cv2.warpAffine(area.astype(np.uint8), turn, size, flags=cv2.INTER_NEAREST) > 0
    blurred = cv2.GaussianBlur(truth.astype(np.float32), (0, 0), BLUR)
    small = cv2.resize(blurred, (room // REDUCED, room // REDUCED), interpolation=cv2.INTER_AREA)
    small += rng.normal(0, NOISE, small.shape)
    return truth, np.clip(np.rint(small), 0, 255).astype(np.uint8), area


def tilting(side: int, degrees: float) -> NDArray[np.float64]:
    """Return the 2×3 transform that turns a square picture about its middle."""
    middle = (side - 1) / 2
    return np.asarray(cv2.getRotationMatrix2D((middle, middle), -degrees, 1), np.float64)


def restore(folder: Path, detector: str | None, more: list[str]) -> dict[str, dict[str, object]]:
    """Run the command over a folder of photographs; return its reports by their photographs' names."""
    if detector is not None:
        return _restore_with(folder, detector, rotations="all" if "all" in more else "auto")
    line = [sys.executable, "-m", "restorer", "restore", str(folder / "photos"), "-o", str(folder / "results")]
    done = subprocess.run(
        [*line, "--json", "-q", "--no-compare", "--format", "png", "--upscale", str(REDUCED), "--offline", *more],
        stdout=subprocess.PIPE,
    )
    if done.returncode:
        raise SystemExit(f"the command ended with code {done.returncode}")
    reports = [json.loads(report) for report in done.stdout.splitlines()]
    return {Path(report["input"]).stem: report for report in reports}


def _restore_with(folder: Path, detector: str, *, rotations: str) -> dict[str, dict[str, object]]:
    """Do what the command does, with a detector that the command does not choose by itself."""
    from restorer import OutputOptions, RestoreOptions, Restorer
    from restorer.pipeline.networks import OpenedNetworks

    options = RestoreOptions(offline=True, upscale=REDUCED, rotations=rotations)  # type: ignore[arg-type]
    restorer = Restorer(options, engines=OpenedNetworks(options, detector=detector))
    outputs = OutputOptions(output=folder / "results", compare=False, format="png")
    reports = [json.loads(report.to_json()) for report in restorer.restore_files(folder / "photos", outputs)]
    return {Path(report["input"]).stem: report for report in reports}


# Measures


@dataclass(frozen=True)
class Score:
    """What became of one subject."""

    found: bool
    restored: bool
    points: float
    scale: float
    error: float
    moved: float
    faces: float

    @property
    def wrong(self) -> bool:
        """Whether the face was painted askew."""
        return self.restored and self.points > WRONG


def judged(
    subject: Subject, report: dict[str, object], pictures: dict[str, Floats], area: NDArray[np.bool_], plain: float
) -> Score:
    """Measure one result."""
    side = pictures["truth"].shape[0] / SCENE
    wanted = subject.points * side / SIDE + (pictures["truth"].shape[0] - side) / 2
    if subject.tilt:
        turn = tilting(len(pictures["truth"]), subject.tilt)
        wanted = (wanted @ turn[:, :2].T + turn[:, 2]).astype(np.float32)
    faces: list[dict[str, object]] = report["faces"]  # type: ignore[assignment]
    middle = wanted.mean(axis=0)
    there = [face for face in faces if _holds(face["box"], middle)]
    unit = float(np.linalg.norm(wanted[:2].mean(axis=0) - wanted[3:].mean(axis=0)))
    off = scale = float("nan")
    if there:
        points = in_result(np.array(there[0]["landmarks"]))
        off = float(np.linalg.norm(points - wanted, axis=1).mean()) / unit
        scale = magnification(similarity(points, TEMPLATE)) * side / SIDE
    error = [rms((pictures[name] - pictures["truth"])[area]) for name in ("restored", "plain")]
    moved = rms(coarse(pictures["restored"] - pictures["plain"])[area])
    restored = bool(there) and bool(there[0]["restored"])
    return Score(bool(there), restored, off, scale, error[0] / max(error[1], 1e-6), moved, plain)


def in_result(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return places of a photograph in its result."""
    return REDUCED * (places + 0.5) - 0.5


def _holds(box: object, place: NDArray[np.float64]) -> bool:
    x0, y0, x1, y1 = in_result(np.array(box))
    return bool(x0 <= place[0] <= x1 and y0 <= place[1] <= y1)


def coarse(values: Floats) -> Floats:
    """Return what the degradation cannot have hidden."""
    return np.asarray(cv2.GaussianBlur(values, (0, 0), COARSE), np.float32)


def rms(values: Floats) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else float("nan")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--count", type=int, default=8, help="the first so many faces")
    parser.add_argument("--skip", type=int, default=0, help="... after these")
    parser.add_argument("--side", type=int, default=480, help="side of a face's crop in the results")
    parser.add_argument("--sheets", type=Path, help="folder for truth | photograph | restored, a PNG a kind")
    parser.add_argument("--kinds", help="only these, separated by commas, such as 'bar,turned 60'")
    parser.add_argument("--detector", help="a file, in place of the command's own choice")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="more for the command")
    arguments = parser.parse_args()
    faces = load_faces(arguments.faces)[arguments.skip : arguments.skip + arguments.count]
    subjects = [Subject("nothing", face.name, face.pixels, np.ones((SIDE, SIDE), bool), face.points) for face in faces]
    for number, face in enumerate(faces):
        subjects += [hidden(face, kind, np.random.default_rng([1, number])) for kind in SHAPES]
        subjects += [aside(face, degrees if number % 2 else -degrees) for degrees in TURNS]
        whole = np.ones((SIDE, SIDE), bool)
        for degrees in TILTS:
            tilt = degrees if number % 2 else -degrees
            subjects.append(Subject(f"tilted {degrees}°", face.name, face.pixels, whole, face.points, tilt))
    if arguments.kinds:
        subjects = [s for s in subjects if s.kind.rstrip("°") in ("nothing", *arguments.kinds.split(","))]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "photos").mkdir()
        made = []
        for number, subject in enumerate(subjects):
            truth, photo, area = photographs(subject, arguments.side, np.random.default_rng([2, number]))
            Image.fromarray(photo).save(folder / "photos" / f"{number:04}.jpg", quality=QUALITY)
            made.append((truth, area))
        reports = restore(folder, arguments.detector, arguments.options)
        results = [_pictures(folder, number, truth) for number, (truth, _) in enumerate(made)]
    table(subjects, made, reports, results)
    if arguments.sheets:
        sheets(arguments.sheets, subjects, results)


def _pictures(folder: Path, number: int, truth: Pixels) -> dict[str, Floats]:
    photo = np.asarray(Image.open(folder / "photos" / f"{number:04}.jpg").convert("RGB"))
    plain = cv2.resize(photo, (truth.shape[1], truth.shape[0]), interpolation=cv2.INTER_LANCZOS4)
    restored = np.asarray(Image.open(folder / "results" / f"{number:04}.png").convert("RGB"))
    return {
        name: values.astype(np.float32)
        for name, values in zip(("truth", "plain", "restored"), (truth, plain, restored), strict=True)
    }


def table(
    subjects: list[Subject],
    made: list[tuple[Pixels, NDArray[np.bool_]]],
    reports: dict[str, dict[str, object]],
    results: list[dict[str, Floats]],
) -> None:
    """Print a line a kind."""
    whole = {
        subject.name: coarse(p["restored"] - p["plain"])
        for subject, p in zip(subjects, results, strict=True)
        if subject.kind == "nothing"
    }
    scores: dict[str, list[Score]] = {}
    for number, (subject, (_, area), pictures) in enumerate(zip(subjects, made, results, strict=True)):
        score = judged(subject, reports[f"{number:04}"], pictures, area, rms(whole[subject.name][area]))
        scores.setdefault(subject.kind, []).append(score)
    print(
        f"{'kind':16}{'faces':>6}{'found':>6}{'restored':>9}{'wrong':>6}{'points':>8}{'scale':>8}{'error':>8}{'worst':>8}"
        f"{'moved':>8}{'worst':>8}{'faces':>8}"
    )
    for kind, rows in scores.items():
        done = [row for row in rows if row.restored] or rows
        print(
            f"{kind:16}{len(rows):6}{sum(row.found for row in rows):6}{sum(row.restored for row in rows):9}"
            f"{sum(row.wrong for row in rows):6}"
            f"{np.mean([row.points for row in rows if row.found] or [np.nan]):8.2f}"
            f"{np.mean([row.scale for row in rows if row.found] or [np.nan]):8.2f}"
            f"{np.mean([row.error for row in done]):8.2f}{max(row.error for row in done):8.2f}"
            f"{np.mean([row.moved for row in done]):8.1f}{max(row.moved for row in done):8.1f}"
            f"{np.mean([row.faces for row in done]):8.1f}",
            flush=True,
        )


def sheets(folder: Path, subjects: list[Subject], results: list[dict[str, Floats]]) -> None:
    """Write truth, photograph and result side by side, a row a face."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in dict.fromkeys(subject.kind for subject in subjects):
        rows = []
        for subject, pictures in zip(subjects, results, strict=True):
            if subject.kind == kind:
                edge = round(len(pictures["truth"]) * (1 - 1 / SCENE) / 2)
                parts = [values[edge:-edge, edge:-edge] for values in pictures.values()]
                rows.append(np.hstack(parts))
        Image.fromarray(np.vstack(rows).astype(np.uint8)).save(
            folder / f"{kind.replace(' ', '-').replace('°', '')}.png"
        )


if __name__ == "__main__":
    main()
