"""StyleGAN2's discriminator: what it measures, in any width and size, and that its gradient has a gradient."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from restorer.networks.stylegan2_discriminator import (
    DiscriminatorSizes,
    Halve,
    StyleGAN2Discriminator,
    minibatch_deviation,
)

pytestmark = pytest.mark.usefixtures("torch_rng")


def test_deviation_over_the_minibatch_by_hand() -> None:
    features = torch.zeros(4, 2, 1, 2)
    features[0, 0] = 2  # first pair: 2 and 0 in one of two channels, deviation 1 there
    features[2], features[3] = 3, -3  # second pair: deviation 3 everywhere
    measured = minibatch_deviation(features, group=2)
    assert measured.shape == (4, 1, 1, 2)
    assert torch.allclose(measured[:2], torch.tensor(0.5), atol=1e-4)
    assert torch.allclose(measured[2:], torch.tensor(3.0), atol=1e-4)


def test_groups_are_images_in_a_row() -> None:
    features = torch.randn(8, 3, 4, 4)
    halves = torch.cat([minibatch_deviation(half, 4) for half in features.chunk(2)])
    assert torch.equal(minibatch_deviation(features, 4), halves)


@pytest.mark.parametrize(("count", "group"), [(1, 1), (3, 3), (6, 3), (5, 1)])
def test_a_batch_the_group_does_not_divide_takes_the_largest_that_does(count: int, group: int) -> None:
    features = torch.randn(count, 3, 4, 4)
    assert torch.equal(minibatch_deviation(features, 4), minibatch_deviation(features, group))


def test_halving_is_the_blur_by_1331_and_every_second_pixel() -> None:
    image = torch.randn(2, 3, 8, 8)
    line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    padded = F.pad(image, (1, 1, 1, 1))
    across = sum(weight * padded[..., k : k + 7] for k, weight in enumerate(line))
    down = sum(weight * across[..., k : k + 7, :] for k, weight in enumerate(line))
    assert torch.allclose(Halve()(image), down[..., ::2, ::2], atol=1e-6)


def test_a_flat_image_keeps_its_value_when_halved() -> None:
    assert torch.allclose(Halve()(torch.ones(1, 2, 8, 8))[..., 1:-1, 1:-1], torch.tensor(1.0))


@pytest.mark.parametrize(
    "sizes",
    [
        DiscriminatorSizes.official(32, narrow=1 / 64),
        DiscriminatorSizes.official(512, narrow=1 / 64),
        DiscriminatorSizes(64, (6, 5, 4), patch=4, group=2),
        DiscriminatorSizes(4, (3,)),
    ],
    ids=str,
)
def test_any_size_and_width(sizes: DiscriminatorSizes) -> None:
    scores, layers = StyleGAN2Discriminator(sizes)(torch.randn(2, 3, sizes.image_size, sizes.image_size))
    assert scores.shape == (2, 1)
    assert [layer.shape[1] for layer in layers] == list(reversed(sizes.channels))
    assert layers[-1].shape[-1] == 4


def test_the_official_widths() -> None:
    assert DiscriminatorSizes.official().channels == (512, 512, 512, 512, 256, 128, 64, 32)
    assert DiscriminatorSizes.official(256, 2).channels == (512, 512, 512, 512, 512, 256, 128)


@pytest.mark.parametrize("sizes", [DiscriminatorSizes(32, (4, 4, 4)), DiscriminatorSizes(32, (4, 4), patch=2)])
def test_sizes_that_do_not_fit_together_are_refused(sizes: DiscriminatorSizes) -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        StyleGAN2Discriminator(sizes)


def test_new_weights_keep_the_size_of_the_features() -> None:
    network = StyleGAN2Discriminator(DiscriminatorSizes(64, (64,) * 5))
    scores, layers = network(torch.randn(8, 3, 64, 64))
    assert all(0.3 < layer.std() < 3 for layer in layers)
    assert scores.std() < 3


def test_the_gradient_has_a_gradient() -> None:
    """R1 needs it; checked against finite differences in float64."""
    network = StyleGAN2Discriminator(DiscriminatorSizes(8, (2, 2), group=2)).double()
    image = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda image: network(image)[0], image)


def test_a_group_alone_is_judged_as_within_a_batch() -> None:
    network = StyleGAN2Discriminator(DiscriminatorSizes(16, (8, 8, 4), group=2)).eval()
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        alone = torch.cat([network(pair)[0] for pair in images.chunk(2)])
        assert torch.allclose(network(images)[0], alone, atol=1e-5)


def test_a_batch_without_variety_is_noticed() -> None:
    """The reason for the deviation: a generator that draws one face only is told from one that draws many."""
    network = StyleGAN2Discriminator(DiscriminatorSizes(16, (8, 8, 4)))
    images = torch.randn(4, 3, 16, 16)
    same = images[:1].expand(4, -1, -1, -1)
    with torch.no_grad():
        assert not torch.isclose(network(images)[0][0], network(same)[0][0], atol=1e-4)
