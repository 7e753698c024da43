"""Decide which faces are restored, and say why the others are left alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from restorer.errors import UsageError
from restorer.faces import Face
from restorer.options import RestoreOptions


def select(faces: Sequence[Face], size: tuple[int, int], options: RestoreOptions) -> list[str | None]:
    """Decide which faces are restored.

    Args:
        faces: All faces found.
        size: Width and height of the photograph.
        options: ``select``, or else ``min_face``, ``max_face`` and ``faces``; and ``strength``.

    Returns:
        For every face None, or the reason why it is left alone.

    Raises:
        UsageError: A face was selected that is not there.
    """
    if options.select is not None:
        reasons: list[str | None] = _by_number(len(faces), options.select)
    else:
        reasons = _by_size_and_place(faces, size, options)
    if options.strength == 0:
        reasons = [reason or "the strength is 0" for reason in reasons]
    return reasons


def _by_number(count: int, selected: Sequence[int]) -> list[str | None]:
    for number in selected:
        if number >= count:
            there = f"its faces are numbered 0 to {count - 1}" if count else "no face was found"
            raise UsageError(
                f"There is no face {number} in the photograph: {there}. "
                "See them with --dry-run --overview FILE, or lower --det-threshold."
            )
    return [None if number in selected else "not selected (--select)" for number in range(count)]


def _by_size_and_place(faces: Sequence[Face], size: tuple[int, int], options: RestoreOptions) -> list[str | None]:
    reasons = [_size_reason(face, options) for face in faces]
    fitting = [number for number, reason in enumerate(reasons) if reason is None]
    if options.faces != "all" and fitting:
        chosen, other = _choose(faces, fitting, size, options.faces)
        for number in fitting:
            reasons[number] = None if number == chosen else other
    return reasons


def _size_reason(face: Face, options: RestoreOptions) -> str | None:
    if face.size < options.min_face:
        return f"smaller than {options.min_face:g} pixels (--min-face)"
    if options.max_face is not None and face.size > options.max_face:
        return f"larger than {options.max_face:g} pixels (--max-face)"
    return None


def _choose(faces: Sequence[Face], fitting: Sequence[int], size: tuple[int, int], choice: str) -> tuple[int, str]:
    """Return the number of the largest or most central face, and the reason for the others."""

    def area(number: int) -> float:
        return faces[number].width * faces[number].height

    def off_centre(number: int) -> float:
        x0, y0, x1, y1 = faces[number].box
        return float(np.hypot((x0 + x1 + 1 - size[0]) / 2, (y0 + y1 + 1 - size[1]) / 2))

    if choice == "largest":
        return max(fitting, key=area), "not the largest face"
    return min(fitting, key=off_centre), "not the face nearest the centre"


def unchanged_reason(reasons: Sequence[str | None]) -> str:
    """Say why no face was restored."""
    if not reasons:
        return "no face found"
    kinds = sorted({reason for reason in reasons if reason is not None})
    count = "the face found was" if len(reasons) == 1 else f"{len(reasons)} faces were found, but all"
    return f"{count} left alone: {'; '.join(kinds)}"
