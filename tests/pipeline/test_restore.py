from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from restorer.checkpoints import Checkpoint
from restorer.contract import NetworkContract
from restorer.faces import AlignedFace
from restorer.network_values import from_network, to_network, went_blank
from restorer.pipeline.restore import FaceRestorer, RestorationError
from restorer.runtime.torch_engine import TorchEngine
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


def drawn() -> AlignedFace:
    """A crop with something to see: dark to bright, as a face on a ground."""
    crop = np.full((SIZE, SIZE, 3), 60, np.float32)
    crop[20:100, 30:90] = (200, 160, 140)
    return AlignedFace(face_at(50, 50, 40), crop, np.eye(2, 3))


def solid(value: float) -> object:
    """A network that gives one colour, with a little noise of its own."""
    noise = np.random.default_rng(0).normal(0, 0.01, (3, SIZE, SIZE)).astype(np.float32)
    return lambda batch: np.zeros_like(batch) + np.float32(value) + noise


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda batch: np.full_like(batch, np.nan), "numbers that are not finite"),
        (lambda batch: np.where(batch > 0, np.inf, batch), "numbers that are not finite"),
        (solid(-1), "a picture of one colour"),  # black
        (solid(0), "a picture of one colour"),  # grey
        (solid(7), "a picture of one colour"),  # clipped to white
    ],
    ids=["nan", "inf", "black", "grey", "white"],
)
def test_a_spoilt_face_is_never_passed_on(change: object, said: str) -> None:
    with pytest.raises(RestorationError, match=f"gave {said}: try another --model"):
        FaceRestorer(FakeEngine(change))([drawn()])
    engine = FakeEngine(change)
    engine.precision = "bf16"
    with pytest.raises(RestorationError, match=f"gave {said}: try --precision fp32"):
        FaceRestorer(engine)([drawn()])
    with pytest.raises(RestorationError, match=f"gave {said} in bf16 and {said} in fp32"):
        FaceRestorer(engine, exact=lambda: FakeEngine(change))([drawn()])


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_face_spoilt_in_bf16_is_restored_in_fp32_and_it_is_said(device: str) -> None:
    def spoilt_if_bright(batch: np.ndarray) -> np.ndarray:
        return np.where(batch.max(axis=(1, 2, 3), keepdims=True) > 0.5, -1, batch).astype(np.float32)

    opened = []

    def exact() -> FakeEngine:
        opened.append(FakeEngine(device=device))
        return opened[-1]

    engine = FakeEngine(spoilt_if_bright, device=device)
    engine.precision = "bf16"
    restorer = FaceRestorer(engine, batch=4, exact=exact)
    faces = [aligned((10, 20, 30)), drawn(), aligned((40, 50, 60)), drawn()]
    results = restorer(faces)
    for face, result in zip(faces, results, strict=True):
        assert np.abs(result.pixels - face.crop).max() < 1e-3
    assert (
        restorer.notices
        == ["The face network gave a picture of one colour in bf16: that face was restored in fp32 instead."] * 2
    )
    # only what was spoilt, each by itself; opened once
    assert len(opened) == 1 and opened[0].batches == [1, 1]
    assert engine.batches == ([4] if device == "cuda" else [1, 1, 1, 1])


def test_a_flat_crop_may_stay_flat() -> None:
    assert FaceRestorer(FakeEngine(solid(-1)))([aligned()])
    noisy = aligned((128, 128, 128))
    noisy.crop[:] += np.random.default_rng(0).normal(0, 30, noisy.crop.shape)  # nothing but noise: it may be removed
    assert FaceRestorer(FakeEngine(solid(0)))([noisy])


@pytest.mark.parametrize("shape", [(512, 512), (64, 80), (33, 40), (5, 7), (1, 3)])
def test_what_counts_as_blank(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    ramp = np.linspace(20, 220, shape[0] * shape[1]).reshape(*shape, 1).repeat(3, 2).astype(np.float32)
    flat = np.full((*shape, 3), 30, np.float32)
    tinted = flat + rng.uniform(0, 1, (*shape, 3)).astype(np.float32)
    assert went_blank(ramp, flat) and went_blank(ramp, tinted)
    assert went_blank(ramp, np.repeat(np.repeat(flat, 4, 0), 4, 1))  # an enlarged one, too
    assert not went_blank(ramp, ramp)
    assert not went_blank(flat, flat)
    assert not went_blank(flat, ramp)
    assert not went_blank(ramp, ramp * 0.05 + 3)  # faint, but there


def test_a_torch_engine_takes_pictures(torch_rng: object) -> None:
    contract = NetworkContract("plain", "face", mean=(127.5,) * 3, scale=1 / 127.5, input_size=SIZE)
    engine = TorchEngine(Checkpoint(nn.Identity(), contract), device="cpu", precision="fp32")
    faces = [aligned((v, v, v)) for v in (10, 20, 30)]
    steps: list[int] = []
    results = FaceRestorer(engine)(faces, advance=steps.append)
    assert [round(float(face.pixels.mean())) for face in results] == [10, 20, 30] and steps == [1, 1, 1]
    engine.device, engine._most = "cuda", None  # as on a GPU, as far as this class can tell
    restorer = FaceRestorer(engine, batch=2)
    assert [round(float(face.pixels.mean())) for face in restorer(faces)] == [10, 20, 30]


def test_output_that_is_no_picture() -> None:
    for change in (lambda batch: batch * np.nan, lambda batch: batch[:, :1], lambda batch: batch[..., ::2]):
        with pytest.raises(RestorationError):
            FaceRestorer(FakeEngine(change))([aligned()])
