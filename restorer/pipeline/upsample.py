"""Enlarge the photograph around the faces: plainly, or with a network, tile by tile.

The tiles lie in even steps and are all of one size, so that a network sees one shape. Each sees some context
that is thrown away again; the rest turns into its neighbour in a short linear blend. Beyond the photograph lies its
mirror image. Only one row of tiles is in memory as float, whatever the photograph's size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from restorer.errors import OutOfMemoryError, RestorerError
from restorer.network_values import from_network, to_network, went_blank
from restorer.resample import enlarged_size, resize, to_dtype
from restorer.runtime.engine import Engine, PictureEngine
from restorer.tone import Tone, tone_of

__all__ = ["Background", "Upsampled", "enlarge", "enlarged_size", "upsample_background"]

Notify = Callable[[str], None]
Advance = Callable[[int, int], None]
"""Gets the number of tiles done and of all tiles; begins anew when the tiles become smaller."""

CONTEXT = 16
"""Pixels of the photograph at each inner side of a tile that inform the network and are then thrown away; a fifth of
the tile where that is less. Measured by benchmarks/tiles.py in levels of 255, greatest difference from the whole
picture, by the pixels of context: with Real-ESRGAN's shapes and torch's random weights x4plus is off by 0.0007 at 8,
general-x4v3 by 0.0001 at 8, x2plus by 1.7 at 8, 0.06 at 12 and 0.002 at 16. With inner layers twice as strong x4plus is
off by 0.07 at 8 and 0.0005 at 12, general-x4v3 by 0.3 at 8 and 0.03 at 16, x2plus by 8 at 8, 1.0 at 12, 0.16 at 16."""
EDGE = 16
"""Pixels of mirror image around the photograph, so that the network's own zeros beyond its input stay outside."""
BLEND = 8
"""Pixels of the photograph over which a tile turns into its neighbour."""
CPU_RESULT = 1024
"""Side in pixels of a tile's result on the processor unless another tile is asked for: the widest layers work at it."""
DEVICE_TILE = 512
"""Side of a tile on a GPU unless asked otherwise."""
LEAST_TILE = 32
"""Below it a tile would be little but context."""


def enlarge(pixels: NDArray[Any], scale: float) -> NDArray[Any]:
    """Enlarge (or reduce) a picture by Lanczos interpolation.

    Args:
        pixels: H×W×3 or H×W (alpha), uint8 or uint16.
        scale: Result's side divided by the picture's; sides are rounded to nearest.

    Returns:
        The same dtype and number of axes; the very same array where the size does not change.
    """
    width, height = enlarged_size(pixels.shape[1], pixels.shape[0], scale)
    return resize(pixels, width, height)


@dataclass(frozen=True)
class Upsampled:
    """A picture enlarged by a network, and how."""

    pixels: NDArray[Any]
    """H×W×3 RGB in the input's dtype."""
    tile: int
    """Greatest side of the tiles in pixels of the photograph; 0: the whole picture at once."""
    warnings: tuple[str, ...]
    """What did not go as planned, one sentence each."""


class Background:
    """A background network that keeps the tile size it has found to fit into memory."""

    def __init__(
        self, engine: Engine, *, tile: int | None = None, notify: Notify | None = None, advance: Advance | None = None
    ) -> None:
        self._engine, self._tile, self._notify, self._advance = engine, tile, notify, advance

    def __call__(self, pixels: NDArray[Any], width: int, height: int) -> NDArray[Any]:
        """Enlarge a picture, keeping the tone of a black-and-white or toned one; see :func:`upsample_background`."""
        result = upsample_background(
            pixels,
            width,
            height,
            self._engine,
            tile=self._tile,
            tone=tone_of(pixels),
            notify=self._notify,
            advance=self._advance,
        )
        if result.warnings:
            self._tile = result.tile
        return result.pixels


def upsample_background(
    pixels: NDArray[Any],
    width: int,
    height: int,
    engine: Engine,
    *,
    tile: int | None = None,
    tone: Tone | None = None,
    notify: Notify | None = None,
    advance: Advance | None = None,
) -> Upsampled:
    """Enlarge a picture with a network to a given size.

    Args:
        pixels: H×W×3 RGB, uint8 or uint16.
        width: Of the result. Where it is not the network's factor, each tile's result is resampled with Lanczos.
        height: Of the result.
        engine: The network.
        tile: Greatest side of the tiles in pixels of the picture; 0: the whole picture; None: by the engine's device.
        tone: Given to the network's result, which may tint a black-and-white or toned picture.
        notify: Called with each of the result's warnings as it arises.
        advance: Called after each tile.

    Returns:
        The picture in the same dtype, with the size of the tiles used.

    Raises:
        OutOfMemoryError: The memory does not suffice even for the smallest tile.
        RestorerError: The network's result is not finite or of another size than its contract says.
    """
    usual = CPU_RESULT // engine.contract.upscale if engine.device == "cpu" else DEVICE_TILE
    side = tile if tile is not None else usual
    warnings: list[str] = []
    while True:
        try:
            result = _tiled(pixels, (width, height), engine, side, tone, advance)
            return Upsampled(result, side, tuple(warnings))
        except OutOfMemoryError:
            # A tile larger than the picture is cut down to it, so halving starts at what was really tried.
            tried = int(min(side or math.inf, max(pixels.shape[:2]) + 2 * EDGE))
            side = tried // 2 // engine.contract.size_multiple * engine.contract.size_multiple
            if side < LEAST_TILE:
                raise
        warnings.append(f"Background tiles of {tried} pixels did not fit into memory: {side} from here on.")
        if notify is not None:
            notify(warnings[-1])


@dataclass(frozen=True)
class _Span:
    """One tile along one axis, and the stretch of the result it has a part in."""

    start: int
    """First pixel of the photograph; negative: in its mirror image."""
    first: int
    """First pixel of the result."""
    weights: NDArray[np.float32]
    """The tile's part in each pixel of the result from ``first`` on."""

    @property
    def end(self) -> int:
        """One past the last pixel of the result."""
        return self.first + len(self.weights)


@dataclass(frozen=True)
class _Axis:
    """The tiles along one axis."""

    length: int
    """Pixels of the photograph."""
    new_length: int
    """Pixels of the result."""
    side: int
    """Pixels of the photograph in every tile."""
    spans: list[_Span]
    """In order; their weights add up to 1 in every pixel of the result, and only neighbours meet."""

    def edges(self, span: _Span, upscale: int) -> tuple[float, float]:
        """Return where a span's stretch of the result begins and ends in the tile's own enlarged pixels."""
        step = self.length / self.new_length
        return (span.first * step - span.start) * upscale, (span.end * step - span.start) * upscale


def _tiled(
    pixels: NDArray[Any], size: tuple[int, int], engine: Engine, tile: int, tone: Tone | None, advance: Advance | None
) -> NDArray[Any]:
    """Enlarge with tiles of one size; the result is written row of tiles by row of tiles."""
    # a GPU's kernels and graphs are made for one shape; on the processor the smallest tiles that cover a photograph
    fit = engine.device == "cpu"
    across = _lay(pixels.shape[1], size[0], tile, engine.contract.size_multiple, fit=fit)
    down = _lay(pixels.shape[0], size[1], tile, engine.contract.size_multiple, fit=fit)
    result = np.empty((size[1], size[0], 3), pixels.dtype)
    full_range = np.float32(257 if pixels.dtype == np.uint16 else 1)
    begun = np.zeros((0, size[0], 3), np.float32)
    total = len(down.spans) * len(across.spans)
    for number, row in enumerate(down.spans):
        strip = np.zeros((len(row.weights), size[0], 3), np.float32)
        for done, column in enumerate(across.spans, start=number * len(across.spans) + 1):
            enlarged = _run(engine, _cut(pixels, row.start, column.start, down.side, across.side))
            piece = _to_result(enlarged, across, column, down, row, engine.contract.upscale)
            strip[:, column.first : column.end] += piece * column.weights[:, None]
            if advance is not None:
                advance(done, total)
        strip *= row.weights[:, None, None]
        strip[: len(begun)] += begun
        # The last rows of the strip are only begun: the next row of tiles has a part in them.
        finished = (down.spans[number + 1].first if number + 1 < len(down.spans) else size[1]) - row.first
        rows = strip[:finished] if tone is None else tone.apply(strip[:finished])
        result[row.first : row.first + finished] = to_dtype(rows * full_range, pixels.dtype)
        begun = strip[finished:]
    return result


def _lay(length: int, new_length: int, tile: int, multiple: int, *, fit: bool) -> _Axis:
    """Lay tiles over one axis.

    Args:
        length: Pixels of the photograph.
        new_length: Pixels of the result.
        tile: Greatest side; 0: all of it.
        multiple: Starts and sides are multiples of it, so that a network that packs pixels packs the same ones.
        fit: Make the tiles only as large as their number needs.
    """
    context, blend = (min(CONTEXT, tile // 5), min(BLEND, tile // 8)) if tile else (CONTEXT, BLEND)
    edge = _round_up(EDGE, multiple)
    total = _round_up(length + 2 * edge, multiple)
    side = min(tile // multiple * multiple or total, total)
    overlap = _round_up(2 * context + blend, multiple)
    steps = math.ceil((total - side) / max(multiple, side - overlap))
    if fit and steps:
        side = overlap + _round_up(math.ceil((total - overlap) / (steps + 1)), multiple)
    starts = [(total - side) * i // max(1, steps) // multiple * multiple - edge for i in range(steps + 1)]
    middles = [(before + side + start) / 2 for before, start in itertools.pairwise(starts)]
    # The middles of the result's pixels in the photograph, counted from its edge.
    places = (np.arange(new_length) + 0.5) * (length / new_length)
    rises = [np.clip((places - middle) / blend + 0.5, 0, 1) for middle in middles]
    spans = []
    for start, rise, fall in zip(starts, [np.ones(new_length), *rises], [*rises, np.zeros(new_length)], strict=True):
        weights = (rise - fall).astype(np.float32)
        used = weights.nonzero()[0]
        if len(used):
            spans.append(_Span(start, int(used[0]), weights[used[0] : used[-1] + 1]))
    return _Axis(length, new_length, side, spans)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _cut(pixels: NDArray[Any], top: int, left: int, height: int, width: int) -> NDArray[np.float32]:
    """Cut out a tile as float32 in 0..255; what lies beyond the picture is its mirror image."""
    indices = []
    for start, count, length in ((top, height, pixels.shape[0]), (left, width, pixels.shape[1])):
        around = np.arange(start, start + count) % (2 * length)
        indices.append(np.minimum(around, 2 * length - 1 - around))
    full_range = np.float32(257 if pixels.dtype == np.uint16 else 1)
    values: NDArray[np.float32] = pixels[np.ix_(*indices)] / full_range
    return values


def _run(engine: Engine, tile: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run the network on one tile, H×W×3 RGB in 0..255; return the enlarged tile alike."""
    contract = engine.contract
    wanted = (tile.shape[0] * contract.upscale, tile.shape[1] * contract.upscale, 3)
    picture: NDArray[np.float32]
    if isinstance(engine, PictureEngine):
        picture = next(engine.pictures([tile], 1))[0]
        finite = bool(np.isfinite(picture).all())
    else:
        output = engine(to_network(tile[None], contract))[0]
        finite = bool(np.isfinite(output).all())
        picture = from_network(output, contract)[0]
    if picture.shape != wanted:
        raise RestorerError(f"The background network gave a picture of shape {picture.shape}, not {wanted}.")
    if not finite:
        raise RestorerError("The background network gave numbers that are not finite: try --precision fp32.")
    if went_blank(tile, picture):
        raise RestorerError("The background network gave a tile of one colour: try --precision fp32 or --device cpu.")
    return picture


def _to_result(
    enlarged: NDArray[np.float32], across: _Axis, column: _Span, down: _Axis, row: _Span, upscale: int
) -> NDArray[np.float32]:
    """Return an enlarged tile's part of the result, resampled where the network's factor is not the wanted one."""
    (left, right), (top, bottom) = across.edges(column, upscale), down.edges(row, upscale)
    if (across.new_length, down.new_length) == (across.length * upscale, down.length * upscale):
        return enlarged[round(top) : round(bottom), round(left) : round(right)]
    size = (column.end - column.first, row.end - row.first)
    planes = []
    for channel in range(3):
        image = Image.fromarray(np.ascontiguousarray(enlarged[..., channel]))
        # Pillow takes a box of fractional pixels and lets the kernel see what lies around it.
        resized = image.resize(size, Image.Resampling.LANCZOS, box=(left, top, right, bottom))
        planes.append(np.asarray(resized, np.float32))
    return np.stack(planes, axis=-1)
