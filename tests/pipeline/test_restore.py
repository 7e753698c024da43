from __future__ import annotations

import numpy as np
import pytest

from restorer.contract import NetworkContract
from restorer.faces import AlignedFace
from restorer.network_values import from_network, to_network
from restorer.pipeline.restore import FaceRestorer, RestorationError
from tests.fakes import CONTRACT, SIZE, FakeEngine, face_at

IMAGENET = NetworkContract(
    "x", "face", colour_order="bgr", scale=1 / 255, mean=(0.0, 10.0, 20.0), std=(0.1, 0.2, 0.4), input_size=SIZE
)


def aligned(value: tuple[float, float, float] = (10, 20, 30)) -> AlignedFace:
    crop = np.full((SIZE, SIZE, 3), value, np.float32)
    return AlignedFace(face_at(50, 50, 40), crop, np.eye(2, 3))


def test_numbers_by_hand() -> None:
    crops = np.array([[[[255, 127.5, 0]]]], np.float32)  # one pixel
    planes = to_network(crops, CONTRACT)
    assert planes.shape == (1, 3, 1, 1) and planes.flags.c_contiguous
    assert np.allclose(planes[0, :, 0, 0], [1, 0, -1])
    # blue first: (0 − 0)/255/0.1, (127.5 − 10)/255/0.2, (255 − 20)/255/0.4
    assert np.allclose(to_network(crops, IMAGENET)[0, :, 0, 0], [0, 2.303922, 2.303922])


@pytest.mark.parametrize("contract", [CONTRACT, IMAGENET])
def test_there_and_back(contract: NetworkContract) -> None:
    crops = np.random.default_rng(0).uniform(0, 255, (2, 5, 4, 3)).astype(np.float32)
    assert np.abs(from_network(to_network(crops, contract), contract) - crops).max() < 1e-3


def test_result_is_clipped() -> None:
    assert from_network(np.full((1, 3, 1, 1), 3, np.float32), CONTRACT).max() == 255


def test_order_is_kept_whatever_the_batch() -> None:
    faces = [aligned((v, v, v)) for v in (10, 20, 30, 40, 50)]
    for batch in (1, 2, 5, 9):
        restorer = FaceRestorer(FakeEngine(device="cuda"), batch=batch)
        steps: list[int] = []
        result = restorer(faces, advance=steps.append)
        assert [round(float(face.pixels.mean())) for face in result] == [10, 20, 30, 40, 50]
        assert sum(steps) == 5 and all(face.aligned is given for face, given in zip(result, faces, strict=True))


def test_nothing_to_restore() -> None:
    assert FaceRestorer(FakeEngine())([]) == []


def test_output_that_is_no_picture() -> None:
    for change in (lambda batch: batch * np.nan, lambda batch: batch[:, :1], lambda batch: batch[..., ::2]):
        with pytest.raises(RestorationError):
            FaceRestorer(FakeEngine(change))([aligned()])
