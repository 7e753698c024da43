"""The plain U-Net: shapes, the identity it starts from, sizes from a checkpoint, one network to compare with `lite`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from restorer.checkpoints import load_checkpoint, save_checkpoint
from restorer.networks.gfpgan import GFPGAN, GFPGANSizes
from restorer.networks.unet import PlainUNet, UNetSizes
from restorer.training.settings import RestorationSettings, load_recipe

RECIPES = Path(__file__).parents[2] / "restorer" / "training" / "recipes"
SIZES = [UNetSizes(32, (12, 8, 6)), UNetSizes(64, (10, 8, 6, 4), patch=2), UNetSizes(64, (8, 6), patch=4)]


def picture(side: int, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("sizes", SIZES)
def test_an_untrained_network_returns_about_its_input(sizes: UNetSizes) -> None:
    torch.manual_seed(0)
    image = picture(sizes.out_size, 2)
    with torch.inference_mode():
        restored = PlainUNet(sizes).initialise()(image)
    assert restored.shape == image.shape
    assert 0 < (restored - image).abs().mean() < 0.05


@pytest.mark.parametrize("sizes", SIZES)
def test_every_weight_takes_part(sizes: UNetSizes) -> None:
    torch.manual_seed(0)
    network = PlainUNet(sizes).initialise()
    torch.nn.init.normal_(network.last.weight)
    network(picture(sizes.out_size)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_features_keep_their_size_through_all_layers() -> None:
    """He's initialisation: neither vanishing nor exploding, so that a short run can learn at once."""
    torch.manual_seed(0)
    network = PlainUNet(UNetSizes(64, (32, 32, 32, 32, 32))).initialise()
    sizes: list[float] = []
    for block in (*network.down, *network.up):
        block.register_forward_hook(lambda _module, _inputs, output: sizes.append(float(output.detach().std())))
    network(torch.randn(4, 3, 64, 64))
    assert min(sizes) > 0.2
    assert max(sizes) < 5


@pytest.mark.parametrize("sizes", SIZES)
def test_a_file_brings_back_the_same_network(tmp_path: Path, sizes: UNetSizes) -> None:
    torch.manual_seed(0)
    network = PlainUNet(sizes).initialise().eval()
    save_checkpoint(tmp_path / "plain.safetensors", network)
    loaded = load_checkpoint(tmp_path / "plain.safetensors")
    assert isinstance(loaded.module, PlainUNet)
    assert loaded.module.sizes == sizes
    assert (loaded.contract.kind, loaded.contract.input_size) == ("face", sizes.out_size)
    image = picture(sizes.out_size)
    with torch.inference_mode():
        assert torch.equal(loaded.module(image), network(image))


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="halved"):
        PlainUNet(UNetSizes(48, (8, 8, 8, 8, 8, 8)))


def test_the_twin_is_as_large_as_lite() -> None:
    """A comparison is fair only between networks of the same number of parameters, trained on as many images."""
    lite = load_recipe(RECIPES / "lite.toml", RestorationSettings)
    twin = load_recipe(RECIPES / "lite-unet.toml", RestorationSettings)
    assert isinstance(lite.sizes, GFPGANSizes)
    assert isinstance(twin.plain, UNetSizes)
    counts = [sum(p.numel() for p in network.parameters()) for network in (GFPGAN(lite.sizes), PlainUNet(twin.plain))]
    assert abs(counts[1] / counts[0] - 1) < 0.03
    assert (twin.images, twin.batch, twin.seed) == (lite.images, lite.batch, lite.seed)
    assert twin.samples == lite.samples
