"""ROI align gives torchvision's numbers, at the borders too, and passes gradients."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import roi_align as reference

from restorer.training.roi_align import roi_align

pytestmark = pytest.mark.usefixtures("torch_rng")

INSIDE = [[2.0, 3.0, 10.0, 11.0], [0.3, 1.7, 9.1, 12.2], [4.0, 4.0, 6.0, 7.0]]
AT_BORDERS = [[-0.5, -0.5, 19.5, 15.5], [-0.5, 6.0, 7.5, 15.5], [14.0, -0.5, 19.5, 5.0]]
OUTSIDE = [[-6.0, -5.0, 8.0, 9.0], [12.0, 9.0, 30.0, 25.0], [40.0, 40.0, 50.0, 50.0]]
TINY = [[5.0, 5.0, 5.0, 5.0], [5.0, 5.0, 5.4, 5.2], [19.0, 15.0, 19.2, 15.3]]


@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize("boxes", [INSIDE, AT_BORDERS, OUTSIDE, TINY], ids=["inside", "borders", "outside", "tiny"])
def test_it_equals_torchvisions(boxes: list[list[float]], samples: int) -> None:
    images = torch.randn(2, 5, 16, 20)
    both = torch.tensor([boxes, boxes[::-1]])
    ours = roi_align(images, both, 7, samples)
    assert ours.shape == (2, 3, 5, 7, 7)
    theirs = reference(images, list(both), output_size=7, sampling_ratio=samples, aligned=False)
    assert torch.allclose(ours.flatten(0, 1), theirs, atol=1e-5)


def test_pixels_have_their_centres_at_integers() -> None:
    image = torch.arange(64.0).reshape(1, 1, 8, 8)
    box = torch.tensor([[[1.5, 2.5, 5.5, 6.5]]])  # the pixels 2…5 across and 3…6 down
    assert torch.allclose(roi_align(image, box, 4, samples=1)[0, 0, 0], image[0, 0, 3:7, 2:6])


def test_a_box_of_the_whole_image_gives_the_image() -> None:
    image = torch.randn(1, 3, 6, 6)
    assert torch.allclose(
        roi_align(image, torch.tensor([[[-0.5, -0.5, 5.5, 5.5]]]), 6, samples=1)[:, 0], image, atol=1e-6
    )


def test_gradients_are_torchvisions() -> None:
    boxes = torch.tensor([INSIDE])
    weights = torch.randn(3, 2, 5, 5)
    gradients = []
    for cut in (
        lambda image: roi_align(image, boxes, 5)[0],
        lambda image: reference(image, list(boxes), output_size=5, sampling_ratio=2),
    ):
        image = torch.ones(1, 2, 16, 16, requires_grad=True)
        torch.autograd.backward((cut(image) * weights).sum())
        assert image.grad is not None
        gradients.append(image.grad)
    assert torch.allclose(*gradients, atol=1e-6)
