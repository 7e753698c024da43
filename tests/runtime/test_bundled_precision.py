"""The bundled face network in bf16, through torch's autocast as on a GPU: near fp32, and no face spoilt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from restorer.checkpoints import load_checkpoint
from restorer.faces import AlignedFace
from restorer.pipeline.restore import FaceRestorer
from restorer.runtime.torch_engine import TorchEngine
from restorer.weights import bundled_folder
from tests.fakes import face_at

DEMO = Path(__file__).parents[2] / ".github" / "demo.jpg"
LEAST_DB = 45.0


def test_bf16_is_within_45_db_of_fp32() -> None:
    with Image.open(DEMO) as demo:
        face = demo.crop((110, 40, 470, 400)).resize((512, 512))
    crops = [face, Image.eval(face.filter(ImageFilter.GaussianBlur(4)), lambda value: value // 4)]
    faces = [AlignedFace(face_at(50, 50, 40), np.asarray(crop, np.float32), np.eye(2, 3)) for crop in crops]
    results = {}
    for precision in ("fp32", "bf16"):
        engine = TorchEngine(load_checkpoint(bundled_folder() / "lite.safetensors"), device="cpu", precision=precision)
        restorer = FaceRestorer(engine)
        results[precision] = [np.clip(np.rint(restored.pixels), 0, 255) for restored in restorer(faces)]
        assert restorer.notices == []
    for exact, quick, crop in zip(*results.values(), crops, strict=True):
        assert not np.array_equal(exact, quick)  # it was computed in bf16
        assert 10 * np.log10(255**2 / np.mean((exact - quick) ** 2)) >= LEAST_DB
        assert np.abs(exact - np.asarray(crop)).mean() > 1  # and it restored
