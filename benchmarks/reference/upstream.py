"""Run a task with the reference program (`gfpgan` from PyPI) and print what it took as one JSON line.

Runs in the reference's environment; nothing of this project is imported. The one thing put in is the module
`torchvision.transforms.functional_tensor`, which torchvision dropped and basicsr still imports.

The detector's weights are random here, so that it finds nothing: it is run for its time, and the faces it should have
found are given. Nothing else is changed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import types
from pathlib import Path

import cv2
import numpy as np
import torch
from torchvision.transforms import functional

stand_in = types.ModuleType("torchvision.transforms.functional_tensor")
stand_in.rgb_to_grayscale = functional.rgb_to_grayscale
sys.modules[stand_in.__name__] = stand_in

from gfpgan import GFPGANer  # noqa: E402


class Spent:
    """Seconds by the clock and of the processor (all threads together), taken again and again."""

    def __init__(self) -> None:
        """Begin with none."""
        self._taken: list[tuple[float, float]] = []

    def __enter__(self) -> None:
        """Start."""
        self._start = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._taken.append((time.perf_counter() - self._start[0], time.process_time() - self._start[1]))

    def said(self) -> dict[str, object]:
        """Return both lists for the JSON line."""
        return {"seconds": [wall for wall, _ in self._taken], "processor": [used for _, used in self._taken]}


def restorer_with(faces: list[list[float]], weights: Path, upsampler: object = None) -> GFPGANer:
    """Return upstream's restorer; its detector works and then answers with ``faces`` (rows of box, score, points)."""
    made = GFPGANer(str(weights / "GFPGANv1.4.pth"), upscale=2, bg_upsampler=upsampler, device=torch.device("cpu"))
    detector = made.face_helper.face_det
    detect = detector.detect_faces

    def answer(image: np.ndarray, threshold: float) -> np.ndarray:
        detect(image, threshold)
        return np.array(faces, dtype=np.float32).reshape(-1, 15)

    detector.detect_faces = answer
    return made


def network(arguments: argparse.Namespace) -> dict[str, object]:
    """Time GFP-GAN on one face; keep the output for comparison."""
    net = restorer_with([], arguments.weights).gfpgan
    crop = torch.from_numpy(np.load(arguments.crop))
    with torch.no_grad():
        net(crop, return_rgb=False, randomize_noise=False)
        spent = Spent()
        for _ in range(arguments.repeat):
            with spent:
                out = net(crop, return_rgb=False, randomize_noise=False)[0]
    np.save(arguments.output, out.numpy())
    return spent.said()


def whole(arguments: argparse.Namespace) -> dict[str, object]:
    """Restore one photograph, file to file; the caller times the process."""
    made = restorer_with(json.loads(arguments.faces.read_text()), arguments.weights)
    image = cv2.imread(str(arguments.photo), cv2.IMREAD_COLOR)
    restored = made.enhance(image, paste_back=True)[2]
    cv2.imwrite(str(arguments.output), restored)
    return {"faces": len(made.face_helper.restored_faces)}


def paste(arguments: argparse.Namespace) -> dict[str, object]:
    """Time the paste-back alone: crops as restored faces, the parsing network replaced by its ready answer."""
    made = restorer_with(json.loads(arguments.faces.read_text()), arguments.weights)
    helper = made.face_helper
    skin = torch.zeros(1, 19, 512, 512)
    skin[:, 1] = 1
    helper.face_parse = lambda face: (skin,)
    image = cv2.imread(str(arguments.photo), cv2.IMREAD_COLOR)
    helper.face_det.detect_faces = lambda image, threshold: np.array(
        json.loads(arguments.faces.read_text()), np.float32
    )
    spent = Spent()
    for _ in range(arguments.repeat):
        helper.clean_all()
        helper.read_image(image)
        helper.get_face_landmarks_5(eye_dist_threshold=5)
        helper.align_warp_face()
        for crop in helper.cropped_faces:
            helper.add_restored_face(crop)
        background = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LANCZOS4)
        with spent:
            helper.get_inverse_affine(None)
            helper.paste_faces_to_input_image(upsample_img=background)
    return spent.said()


def background(arguments: argparse.Namespace) -> dict[str, object]:
    """Time Real-ESRGAN x2plus as upstream's command sets it up for a CPU."""
    from basicsr.archs.rrdbnet_arch import RRDBNet
    from realesrgan import RealESRGANer

    made = RealESRGANer(
        scale=2,
        model_path=str(arguments.weights / "RealESRGAN_x2plus.pth"),
        model=RRDBNet(num_in_ch=3, num_out_ch=3, num_feat=64, num_block=23, num_grow_ch=32, scale=2),
        tile=400,
        tile_pad=10,
        pre_pad=0,
        half=False,
        device=torch.device("cpu"),
    )
    image = cv2.imread(str(arguments.photo), cv2.IMREAD_COLOR)
    spent = Spent()
    for _ in range(arguments.repeat):
        with spent:
            made.enhance(image, outscale=2)
    return spent.said()


TASKS = {"network": network, "whole": whole, "paste": paste, "background": background}


def main() -> None:
    """Run one task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--photo", type=Path)
    parser.add_argument("--faces", type=Path)
    parser.add_argument("--crop", type=Path)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--repeat", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    print(json.dumps(TASKS[arguments.task](arguments)))


if __name__ == "__main__":
    main()
