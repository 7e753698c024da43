"""Methods under judgement: whatever turns a case into a restored picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from restorer.errors import PhotoError
from restorer.evaluation.inputs import Case
from restorer.evaluation.metric import Pixels
from restorer.faces import AlignedFace
from restorer.photo import Metadata, Photo
from restorer.pipeline.networks import Networks
from restorer.pipeline.photo import aligned_face
from restorer.resample import resize, scaling, to_dtype

INPUT, BICUBIC = "input", "bicubic"


@dataclass(frozen=True)
class Method:
    """A row of the table."""

    name: str
    pictures: Callable[[Sequence[Case]], list[Pixels]]
    """Cases -> restored pictures; a picture that cannot be read raises PhotoError."""
    describe: Callable[[], dict[str, Any]]
    """What it is, for the report: a path, or a model with its hash."""


def input_method() -> Method:
    """Return the pictures as they were before any restoration, at the truth's size."""
    return Method(INPUT, lambda cases: [_given(case.degraded) for case in cases], lambda: {"kind": "input"})


def bicubic_method(factor: int) -> Method:
    """Return the reduced pictures, enlarged by a cubic kernel: what a model gets under super-resolution."""
    about = {"kind": "bicubic", "factor": factor}
    return Method(BICUBIC, lambda cases: [_given(case.given) for case in cases], lambda: about)


def folder_method(name: str, path: str, read: Callable[[str], Pixels]) -> Method:
    """Return the pictures that some program made, as they lie in a folder."""
    return Method(name, lambda cases: [read(case.stem) for case in cases], lambda: {"kind": "pictures", "path": path})


def model_method(name: str, networks: Networks) -> Method:
    """Return a face model of this tool, run on the aligned faces of the input."""

    def describe() -> dict[str, Any]:
        device, precision = networks.device()
        return {"kind": "model", **networks.face_model().to_dict(), "device": device, "precision": precision}

    return Method(name, lambda cases: restore_aligned([_given(case.given) for case in cases], networks), describe)


def restore_aligned(pictures: Sequence[Pixels], networks: Networks) -> list[Pixels]:
    """Restore aligned faces, each picture one.

    Raises:
        PhotoError: A picture is not square, so it is no aligned face.
        WeightsError, DeviceError: There is no model, or it does not run here.
    """
    restorer = networks.face_restorer()
    size = restorer.size
    faces = []
    for picture in pictures:
        (face,) = aligned_face(Photo(picture, None, False, "PNG", Metadata()))
        crop = np.clip(resize(picture.astype(np.float32), size, size), 0, 255)
        faces.append(AlignedFace(face, crop, scaling(size / picture.shape[1], size / picture.shape[0])))
    restored = restorer(faces)
    return [
        to_dtype(resize(face.pixels, picture.shape[1], picture.shape[0]), picture.dtype)
        for face, picture in zip(restored, pictures, strict=True)
    ]


def _given(picture: Pixels | None) -> Pixels:
    if picture is None:
        raise PhotoError("There is no input to judge.")
    return picture
