"""All steps of one photograph: detect, select, align, restore, upsample, paste; and the pictures made of the result.

The way is cut where many photographs meet: :func:`prepare` ends with the crops, :func:`paint` does what still needs the
large networks, :func:`finish` does the rest, most of it on the processor, and may run in another thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorer import __version__
from restorer.errors import PhotoError
from restorer.faces import AlignedFace, Face, RestoredFace
from restorer.options import RestoreOptions
from restorer.photo import Metadata, Photo, fit_format, with_provenance
from restorer.photo.colour import to_srgb
from restorer.pipeline.align import TEMPLATE, TEMPLATE_SIZE
from restorer.pipeline.choose import choose
from restorer.pipeline.colour import own_colours
from restorer.pipeline.compare import compare, face_pair
from restorer.pipeline.grain import Graining
from restorer.pipeline.identity import drift, drift_warnings
from restorer.pipeline.mask import Parse, face_mask
from restorer.pipeline.networks import Networks
from restorer.pipeline.paste import paste
from restorer.pipeline.select import select, unchanged_reason
from restorer.pipeline.upsample import enlarge, enlarged_size
from restorer.report import FaceReport, ModelReport, PhotoReport, Status
from restorer.resample import resize, scaling, to_dtype, transform
from restorer.runtime.device import thread_limit
from restorer.tone import tone_of

TOOL = "restorer"
MASK_PARSER, MASK_POINTS = "bisenet", "points"


@dataclass
class Clock:
    """Adds up seconds by step."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count the time spent inside towards a step."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Count time towards a step."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds


@dataclass(frozen=True)
class Prepared:
    """A photograph whose faces are found, and cut out as far as they are to be restored."""

    photo: Photo
    faces: tuple[Face, ...]
    reasons: tuple[str | None, ...]
    """Why each face is left alone; None for those to be restored."""
    aligned: tuple[AlignedFace, ...]
    """The faces to be restored, in the photograph's own colours."""
    clock: Clock
    warnings: tuple[str, ...] = ()

    def crops(self) -> list[AlignedFace]:
        """Return the faces to be restored as a network sees them: sRGB."""
        icc = self.photo.metadata.icc
        return [replace(face, crop=np.clip(to_srgb(face.crop, icc), 0, 255)) for face in self.aligned]


@dataclass(frozen=True)
class Painted:
    """A photograph that no large network is needed for any more."""

    prepared: Prepared
    restored: tuple[RestoredFace, ...]
    """Restored faces, crop and result, as the network saw and gave them: sRGB."""
    parse: Parse | None
    """Tells face from background for the masks; None: they are drawn from the faces' points."""
    canvas: NDArray[Any] | None
    """The background as a network enlarged it; None: it is still to be enlarged."""
    model: ModelReport | None = None
    """The face model, if there is a restored face."""
    device: tuple[str | None, str | None] = (None, None)
    warnings: tuple[str, ...] = ()
    angles: tuple[float, ...] = ()
    """Degrees by which each restored face's identity drifted, if that was asked for."""


@dataclass(frozen=True)
class Restoration:
    """A restored photograph."""

    photo: Photo
    """The result; its metadata say so if it carries generated pixels."""
    original: Photo
    report: PhotoReport
    faces: tuple[RestoredFace, ...]
    """The restored faces, crop and result in the photograph's own colours."""


def find_faces(photo: Photo, networks: Networks, clock: Clock) -> tuple[Face, ...]:
    """Find the faces of a photograph, from left to right."""
    with clock.step("open"):
        find = networks.find()
    with clock.step("detect"):
        return tuple(find(photo.pixels))


def prepare(photo: Photo, networks: Networks, options: RestoreOptions, clock: Clock) -> Prepared:
    """Find, select and cut out the faces of a photograph.

    Raises:
        PhotoError: Aligned faces were announced, and the photograph is not square.
    """
    if options.aligned:
        return _prepare_aligned(photo, networks, options, clock)
    if options.strength:
        networks.expect_faces()
    faces = find_faces(photo, networks, clock)
    reasons = select(faces, photo.size, options)
    aligned: list[AlignedFace] = []
    if None in reasons:
        with clock.step("open"):
            size = _open_for_faces(networks, options)
        with clock.step("align"):
            faces, reasons, aligned = choose(photo, faces, options, size, networks.confirm())
    return Prepared(photo, faces, tuple(reasons), tuple(aligned), clock)


def _open_for_faces(networks: Networks, options: RestoreOptions) -> int:
    """Open what faces need, so that nothing is found missing after the work; return the side of their crops."""
    if options.identity:
        networks.identity()
    return networks.face_restorer().size


def aligned_face(photo: Photo) -> tuple[Face, ...]:
    """Return the one face of a photograph that is a face's crop already, its points on the template.

    Raises:
        PhotoError: The photograph is not square.
    """
    width, height = photo.size
    if width != height:
        raise PhotoError(f"It is {width}×{height}, and --aligned takes square crops of single faces.")
    points = transform(scaling(width / TEMPLATE_SIZE, width / TEMPLATE_SIZE), TEMPLATE)
    return (Face((0.0, 0.0, float(width), float(height)), 1.0, points.astype(np.float32)),)


def _prepare_aligned(photo: Photo, networks: Networks, options: RestoreOptions, clock: Clock) -> Prepared:
    faces = aligned_face(photo)
    if options.strength == 0:
        return Prepared(photo, faces, ("the strength is 0",), (), clock)
    with clock.step("open"):
        size = _open_for_faces(networks, options)
    with clock.step("align"):
        pixels = photo.pixels.astype(np.float32) / np.float32(257 if photo.depth == 16 else 1)
        grow = size / photo.size[0]
        aligned = AlignedFace(faces[0], np.clip(resize(pixels, size, size), 0, 255), scaling(grow, grow))
    return Prepared(photo, faces, (None,), (aligned,), clock)


def paint(prepared: Prepared, restored: Sequence[RestoredFace], networks: Networks, options: RestoreOptions) -> Painted:
    """Do what still needs large networks: the background if one enlarges it, and the faces' identity.

    Args:
        prepared: The photograph.
        restored: The restored faces, in the order of ``prepared.crops()``, sRGB.
        networks: For the parser and the background.
        options: As for :func:`prepare`.
    """
    clock = prepared.clock
    with clock.step("open"):
        background = None if options.aligned else networks.background()
        parse = networks.parser() if restored and not options.aligned else None
    angles: tuple[float, ...] = ()
    if options.identity and restored:
        with clock.step("identity"):
            angles = drift(networks.identity(), restored, options.strength)
    canvas = None
    if background is not None:
        with clock.step("upsample"):
            canvas = background(prepared.photo.pixels, *enlarged_size(*prepared.photo.size, options.upscale))
    return Painted(
        prepared,
        tuple(restored),
        parse,
        canvas,
        networks.face_model() if restored else None,
        networks.device(),
        networks.take_notices(),
        angles,
    )


@dataclass(frozen=True)
class _Masks:
    """Where the restored faces of a photograph are pasted."""

    masks: list[NDArray[np.float32]] = field(default_factory=list)
    """One per restored face."""
    drawn: set[str] = field(default_factory=set)
    """What drew them, for the report."""
    missed: list[str] = field(default_factory=list)
    """Where the parser was of no use."""


def _draw_masks(painted: Painted, scale: tuple[float, float]) -> _Masks:
    found = _Masks()
    for face in painted.restored:
        before = len(found.missed)
        found.masks.append(face_mask(face.aligned, painted.parse, scale=scale, notify=found.missed.append))
        found.drawn.add(MASK_POINTS if painted.parse is None or len(found.missed) > before else MASK_PARSER)
    return found


def _in_own_colours(
    prepared: Prepared, restored: Sequence[RestoredFace], *, colorize: bool = False
) -> list[RestoredFace]:
    """Return restored faces in the photograph's profile, and in its colours or tone unless the model's are wanted."""
    if not restored:
        return []
    icc = prepared.photo.metadata.icc
    tone = None if colorize else tone_of(prepared.photo.pixels)

    def in_own_colours(face: RestoredFace, aligned: AlignedFace) -> RestoredFace:
        return RestoredFace(aligned, own_colours(face.pixels, aligned.crop, icc, tone, keep=not colorize))

    with ThreadPoolExecutor(thread_limit() or os.cpu_count()) as pool:  # OpenCV and NumPy let go of Python's lock
        return list(pool.map(in_own_colours, restored, prepared.aligned))


def finish(painted: Painted, options: RestoreOptions) -> Restoration:
    """Enlarge the photograph, paste its faces and say in its metadata what was done."""
    prepared, clock = painted.prepared, painted.prepared.clock
    photo = prepared.photo
    with ThreadPoolExecutor(1) as beside:
        colours = beside.submit(_in_own_colours, prepared, painted.restored, colorize=options.colorize)
        with clock.step("upsample"):
            canvas = painted.canvas if painted.canvas is not None else enlarge(photo.pixels, options.upscale)
            alpha = None if photo.alpha is None else enlarge(photo.alpha, options.upscale)
    with clock.step("paste"):
        restored = colours.result()
        masks = _Masks()
        if options.aligned:
            pixels = _blend_aligned(canvas, restored, options.strength)
        else:
            scale = _scale(photo, options)
            masks = _draw_masks(painted, scale)
            pixels = paste(
                canvas,
                restored,
                masks.masks,
                scale=scale,
                strength=options.strength,
                texturing=Graining((scale[0] * scale[1]) ** 0.5) if options.grain == "auto" else None,
                # a canvas made here is nobody else's, unless it is the photograph itself, enlarged by 1
                in_place=painted.canvas is None and canvas is not photo.pixels,
                interpolated=painted.canvas is None,
            )
    result = replace(photo, pixels=pixels, alpha=alpha, metadata=_metadata(painted, options))
    return Restoration(result, photo, _report(painted, result, masks, options), tuple(restored))


def _blend_aligned(canvas: NDArray[Any], restored: Sequence[RestoredFace], strength: float) -> NDArray[Any]:
    """Put a restored face over the whole of the enlarged crop it came from."""
    if not restored:
        return canvas
    height, width = canvas.shape[:2]
    face = np.clip(resize(restored[0].pixels, width, height), 0, 255) * np.float32(
        257 if canvas.dtype == np.uint16 else 1
    )
    before = canvas.astype(np.float32)
    blended: NDArray[Any] = to_dtype(before + np.float32(strength) * (face - before), canvas.dtype)
    return blended


def _scale(photo: Photo, options: RestoreOptions) -> tuple[float, float]:
    """Return the true enlargement in x and y, which rounding to whole pixels may have made differ."""
    width, height = photo.size
    new_width, new_height = enlarged_size(width, height, options.upscale)
    return new_width / width, new_height / height


def _metadata(painted: Painted, options: RestoreOptions) -> Metadata:
    """Return metadata that disclose generated pixels, if there are any."""
    models = [painted.model.name] if painted.model is not None else []
    if painted.canvas is not None:
        models.append(options.bg_upsampler)
    return _disclosed(painted.prepared.photo.metadata, models, options)


def _disclosed(metadata: Metadata, models: Sequence[str], options: RestoreOptions) -> Metadata:
    if not models or options.disclose == "none":
        return metadata
    return with_provenance(
        metadata, tool=TOOL, version=__version__, model=" + ".join(models), strength=options.strength
    )


def _report(painted: Painted, result: Photo, masks: _Masks, options: RestoreOptions) -> PhotoReport:
    prepared = painted.prepared
    reasons = prepared.reasons
    status = Status.RESTORED if None in reasons else Status.UNCHANGED
    device, precision = painted.device
    faces = face_reports(prepared.faces, reasons, angles=painted.angles)
    drifted = drift_warnings([face.identity for face in faces])
    return PhotoReport(
        input="",
        status=status,
        reason=None if status is Status.RESTORED else unchanged_reason(reasons),
        size_in=prepared.photo.size,
        size_out=result.size,
        faces=faces,
        model=painted.model,
        upscale=options.upscale,
        bg_upsampler=options.bg_upsampler if painted.canvas is not None else "none",
        mask=", ".join(sorted(masks.drawn)) or None,
        device=device,
        precision=precision,
        seconds=prepared.clock.seconds,
        warnings=tuple(
            dict.fromkeys((*result.warnings, *prepared.warnings, *painted.warnings, *masks.missed, *drifted))
        ),
    )


def face_reports(
    faces: Sequence[Face], reasons: Sequence[str | None], *, restored: bool = True, angles: Sequence[float] = ()
) -> tuple[FaceReport, ...]:
    """Describe faces; ``restored`` false: as found only; ``angles`` as in :class:`Painted`."""
    left = iter(angles)
    return tuple(
        FaceReport.of(
            face,
            restored=restored and reason is None,
            reason=reason,
            identity=next(left, None) if reason is None else None,
        )
        for face, reason in zip(faces, reasons, strict=True)
    )


def restore(
    photo: Photo, networks: Networks, options: RestoreOptions, *, advance: Callable[[int], None] | None = None
) -> Restoration:
    """Take one photograph all the way.

    Args:
        photo: The photograph.
        networks: Opened as far as they are needed.
        options: How to restore.
        advance: Gets the number of faces of every pass through the face network.
    """
    clock = Clock()
    prepared = prepare(photo, networks, options, clock)
    restored: list[RestoredFace] = []
    if prepared.aligned:
        with clock.step("restore"):
            restored = networks.face_restorer()(prepared.crops(), advance=advance)
    return finish(paint(prepared, restored, networks, options), options)


# Pictures made of the result


def comparison(restoration: Restoration, options: RestoreOptions) -> Photo:
    """Draw the whole photograph before and after, ready to be written as JPEG."""
    before, after = (fit_format(photo, "JPEG") for photo in (restoration.original, restoration.photo))
    caption = caption_of(restoration.report) if options.disclose == "caption" else None
    drawn = compare(before.pixels, after.pixels, caption=caption)
    return Photo(drawn, None, after.grey, "JPEG", replace(after.metadata, dpi=None))


def caption_of(report: PhotoReport) -> str | None:
    """Return the sentence that discloses generated pixels to a reader; None if there are none."""
    if report.model is None:
        return None
    number = f"{report.restored_faces} face{'s' if report.restored_faces != 1 else ''}"
    return f"{number} restored by a trained model ({report.model.name}): details are plausible, not recovered."


def face_pairs(restoration: Restoration, options: RestoreOptions) -> list[Photo]:
    """Draw every restored face beside its crop, ready to be written as PNG."""
    photo, model = restoration.photo, restoration.report.model
    metadata = _disclosed(Metadata(icc=photo.metadata.icc), [model.name] if model else [], options)
    return [
        Photo(face_pair(face.aligned.crop, face.pixels), None, photo.grey, "PNG", metadata)
        for face in restoration.faces
    ]
