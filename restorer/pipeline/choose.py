"""Settle which faces of a photograph are restored: by number, by size and place, and by how they look once cut out.

Cut out, a face is looked at by the detector once more where its points may be guessed, and by the rules for sharp and
for drawn faces.
"""

from __future__ import annotations

from collections.abc import Sequence

from restorer.faces import AlignedFace, Face
from restorer.options import RestoreOptions
from restorer.photo import Photo
from restorer.pipeline.align import GeometryError, align
from restorer.pipeline.confirm import Find, confirmed
from restorer.pipeline.drawing import is_drawn
from restorer.pipeline.select import select
from restorer.pipeline.sharpness import MOST_ENLARGED, SIZE, measure
from restorer.resample import magnification
from restorer.tone import tone_of

GUESSED = "its five points are not to be trusted: it lies, is hidden or is no face (--select restores it)"


def choose(
    photo: Photo, faces: Sequence[Face], options: RestoreOptions, size: int, find: Find | None = None
) -> tuple[tuple[Face, ...], list[str | None], list[AlignedFace]]:
    """Settle which faces are restored, and cut them out.

    Args:
        photo: The photograph.
        faces: All faces found in it.
        options: ``select``, ``faces``, ``min_face``, ``max_face``, ``strength``, ``restore_sharp``, ``restore_drawn``.
        size: Side of the crops.
        find: The detector for a second look at faces as they are cut out; None: they are taken as they were found.

    Returns:
        The faces, some with better points; for each None, or the reason why it is left alone; and those with None,
        aligned.

    Raises:
        UsageError: A face was selected that is not there.
    """
    reasons = select(faces, photo.size, options)
    settled, aligned = list(faces), []
    for number, face in enumerate(faces):
        if reasons[number] is not None:
            continue
        try:
            sure = face if find is None else confirmed(photo.pixels, face, find)
            if sure is None and options.select is None:
                reasons[number] = GUESSED
                continue
            settled[number] = sure or face
            crop = align(photo.pixels, settled[number], size)
            reasons[number] = None if options.select else _look(photo, crop, options)
        except GeometryError as error:
            reasons[number] = str(error)
        else:
            aligned += [crop] if reasons[number] is None else []
    return tuple(settled), reasons, aligned


def _look(photo: Photo, face: AlignedFace, options: RestoreOptions) -> str | None:
    """Return why a face is left alone for what it looks like, or None."""
    size = len(face.crop)
    if magnification(face.photo_to_crop) * SIZE / size > MOST_ENLARGED or (
        options.restore_sharp and options.restore_drawn
    ):
        return None
    seen = face if size == SIZE else align(photo.pixels, face.face, SIZE)
    found = measure(seen.crop)
    if found.sharp and not options.restore_sharp:
        return "sharp already (--restore-sharp restores it)"
    # A whole photograph is measured for its tone last, because it takes longest.
    drawn = not options.restore_drawn and is_drawn(found.brightness, found.steepness, found.texture)
    if drawn and tone_of(photo.pixels) is not None:
        return "engraved or drawn (--restore-drawn restores it)"
    return None
