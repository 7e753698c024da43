"""JPEG on tensors, against Pillow's."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from restorer.training.damage.jpeg import jpeg, quantisation_tables
from tests.training.damage.pictures import psnr, texture


def _pillow(picture: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def _tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float()


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    return data.astronaut()[20:181, 140:313]  # no multiple of 16


@pytest.mark.parametrize("quality", [5, 40, 75, 90, 100])
def test_what_comes_back_is_what_libjpeg_gives(face: np.ndarray, quality: int) -> None:
    reference = _pillow(face, quality)
    ours = jpeg(_tensor(face), quality)[0].permute(1, 2, 0).numpy()
    assert psnr(ours, reference) > 50
    assert psnr(ours, reference) > psnr(reference, face) + 12  # far nearer to libjpeg's picture than to the original
    assert (ours == np.rint(ours)).all() and ours.min() >= 0 and ours.max() <= 255


@pytest.mark.parametrize("size", [(1, 1), (7, 12), (18, 30), (33, 24)])
def test_edges_of_small_pictures_are_filled_up_as_libjpeg_does(face: np.ndarray, size: tuple[int, int]) -> None:
    picture = np.ascontiguousarray(face[40 : 40 + size[0], 60 : 60 + size[1]])
    ours = jpeg(_tensor(picture), 75)[0].permute(1, 2, 0).numpy()
    assert psnr(ours, _pillow(picture, 75)) > 43


@pytest.mark.parametrize("quality", [1, 25, 50, 73, 95, 100])
def test_tables_are_libjpegs(face: np.ndarray, quality: int) -> None:
    file = io.BytesIO()
    Image.fromarray(face).save(file, "JPEG", quality=quality)
    stored = Image.open(file).quantization
    for table, ours in zip((stored[0], stored[1]), quantisation_tables([quality])[0], strict=True):
        assert np.array_equal(np.array(table).reshape(8, 8), ours)


def test_the_level_shows_in_the_coefficients(face: np.ndarray) -> None:
    """Coded again at the same level hardly anything changes; at others it does: what forensics look for."""
    once = jpeg(_tensor(face), 60)
    losses = {quality: float((jpeg(once, quality) - once).abs().mean()) for quality in range(40, 86, 5)}
    assert min(losses, key=losses.__getitem__) == 60


def test_images_of_unlike_sizes_and_qualities_are_coded_each_by_itself() -> None:
    images = texture(3, 64)
    sizes, qualities = np.array([[64, 64], [30, 41], [17, 64]]), [30, 60, 90]
    together = jpeg(images, qualities, sizes)
    for row, ((height, width), quality) in enumerate(zip(sizes, qualities, strict=True)):
        alone = jpeg(images[row : row + 1, :, :height, :width], quality)
        assert torch.equal(together[row, :, :height, :width], alone[0])


def test_grey_stays_grey() -> None:
    grey = texture(1)[:, :1].expand(-1, 3, -1, -1)
    coded = jpeg(grey, 20)
    assert torch.equal(coded[:, 0], coded[:, 1]) and torch.equal(coded[:, 0], coded[:, 2])
