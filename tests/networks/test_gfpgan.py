"""GFP-GAN gives upstream's numbers, and keeps what this project adds to it."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from restorer.networks.gfpgan import GFPGAN, GFPGANSizes, ModulatedConv2d
from tests.references import make_gfpgan
from tests.references.gfpgan_cases import CASES, KEYS, GFPGANCase, to_network
from tests.references.make_gfpgan import TOLERANCE, build_ours, relative_error, shapes_of
from tests.references.weights_by_name import gfpgan_weights

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
SMALL = GFPGANSizes(out_size=16, style_dim=8, prior_channels=(8, 8, 4), unet_channels=(4, 4, 2), mlp_layers=1)
PATCHED = replace(SMALL, out_size=32, patch=2, residual=True)


@pytest.fixture(autouse=True)
def _one_thread_no_gradients() -> Any:
    """Networks this small only wait for each other's threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(threads)


def randomized(sizes: GFPGANSizes, seed: int = 0) -> GFPGAN:
    """Return a network with no zero or one in it, unlike a fresh one."""
    network = GFPGAN(sizes).eval()
    network.load_state_dict(gfpgan_weights(shapes_of(network), seed))
    return network


def random_image(sizes: GFPGANSizes, batch: int = 1, seed: int = 0) -> torch.Tensor:
    shape = (batch, 3, sizes.out_size, sizes.out_size)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


class TestParity:
    @each_case
    def test_the_output_equals_the_stored_upstream_output(self, case: GFPGANCase) -> None:
        with np.load(case.path) as stored:
            ours = build_ours(case)(torch.from_numpy(to_network(stored["input"])))
            theirs = torch.from_numpy(stored["output"])
        assert ours.shape == theirs.shape == (case.batch, 3, case.out_size, case.out_size)
        assert relative_error(ours, theirs) <= TOLERANCE

    @each_case
    def test_the_pyramid_equals_the_stored_upstream_pyramid(self, case: GFPGANCase) -> None:
        with np.load(case.path) as stored:
            out, pyramid = build_ours(case).forward_with_pyramid(torch.from_numpy(to_network(stored["input"])))
            assert relative_error(out, torch.from_numpy(stored["output"])) <= TOLERANCE
            assert len(pyramid) == sum(1 for name in stored if name.startswith("pyramid")) == case.sizes.scales
            for scale, ours in enumerate(pyramid):
                assert ours.shape[-1] == 8 * 2**scale
                assert relative_error(ours, torch.from_numpy(stored[f"pyramid{scale}"])) <= TOLERANCE

    @each_case
    def test_the_output_equals_upstream_run_now_with_other_weights(self, case: GFPGANCase) -> None:
        for package in ("gfpgan", "basicsr"):
            if importlib.util.find_spec(package) is None:
                pytest.skip(f"the live comparison runs the upstream program, which needs {package}")
        fresh = replace(case, seed=case.seed + 100)
        image = random_image(case.sizes, case.batch)
        out, pyramid = make_gfpgan.run_upstream(make_gfpgan.build_upstream(fresh), image)
        assert max(make_gfpgan.compare(fresh, image, out, pyramid).values()) <= TOLERANCE

    def test_names_and_shapes_of_the_full_size_are_upstreams(self) -> None:
        with torch.device("meta"):  # shapes only: the weights would take 350 MB
            ours = shapes_of(GFPGAN())
        theirs = {name: tuple(shape) for name, shape in json.loads(KEYS.read_text("utf-8")).items()}
        assert len(theirs) == 285
        assert ours == theirs

    @each_case
    def test_the_references_hold_what_their_record_says(self, case: GFPGANCase) -> None:
        record = json.loads((KEYS.parent / "gfpgan_made_by.json").read_text("utf-8"))["cases"][case.name]
        assert record["arguments"] == case.upstream
        assert record["tensors"] == len(build_ours(case).state_dict())
        assert min(record["weakest_effect"].values()) >= make_gfpgan.SMALLEST_EFFECT


class TestDeterminism:
    @each_case
    def test_a_batch_equals_its_samples_one_by_one(self, case: GFPGANCase) -> None:
        network, images = build_ours(case), random_image(case.sizes, batch=3)
        together = network(images)
        for index in range(len(images)):
            assert relative_error(together[index : index + 1], network(images[index : index + 1])) <= 1e-6

    def test_two_calls_give_the_same_bits(self) -> None:
        network, image = build_ours(CASES[0]), random_image(CASES[0].sizes)
        assert torch.equal(network(image), network(image))

    def test_the_input_is_left_as_it_was(self) -> None:
        image = random_image(PATCHED)
        before = image.clone()
        randomized(PATCHED)(image)
        assert torch.equal(image, before)

    def test_the_stored_noises_are_the_ones_used(self) -> None:
        network = randomized(SMALL)
        prior = network.stylegan_decoder
        stored = [prior.noises.get_buffer(f"noise{index}") for index in range(5)]
        codes = torch.ones(1, SMALL.codes, SMALL.style_dim)
        assert torch.equal(prior(codes), prior(codes, noises=stored))
        assert not torch.equal(prior(codes), prior(codes, noises=[noise.flip(-1) for noise in stored]))


class TestSizes:
    @pytest.mark.parametrize(
        "sizes",
        [
            *(case.sizes for case in CASES),
            SMALL,
            replace(SMALL, sft_half=False),
            replace(SMALL, code_per_layer=False),
            replace(SMALL, mlp_layers=0),
            PATCHED,
            replace(PATCHED, out_size=64, patch=4, residual=False),
            replace(PATCHED, sft_half=False, code_per_layer=False),
            replace(SMALL, sft=False),
            replace(PATCHED, sft=False),
            GFPGANSizes(out_size=64, style_dim=12, prior_channels=(6, 10, 4, 8), unet_channels=(7, 5, 3, 2), patch=2),
        ],
    )
    def test_sizes_are_deduced_from_a_saved_file(self, sizes: GFPGANSizes, tmp_path: Path) -> None:
        network = randomized(sizes)
        torch.save(network.state_dict(), tmp_path / "network.pth")
        state = torch.load(tmp_path / "network.pth", weights_only=True)
        deduced = GFPGANSizes.from_state_dict(state, residual=sizes.residual)
        assert deduced == sizes
        again = GFPGAN(deduced).eval()
        again.load_state_dict(state)
        image = random_image(sizes)
        assert torch.equal(again(image), network(image))

    def test_sizes_of_the_released_checkpoints_are_deduced(self) -> None:
        shapes = json.loads(KEYS.read_text("utf-8"))
        state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        assert GFPGANSizes.from_state_dict(state) == GFPGANSizes.official()

    @pytest.mark.parametrize("sizes", [GFPGANSizes.official(), PATCHED])
    def test_sizes_survive_json(self, sizes: GFPGANSizes) -> None:
        assert GFPGANSizes.from_dict(json.loads(json.dumps(sizes.to_dict()))) == sizes

    def test_the_official_widths_are_stylegan2s(self) -> None:
        sizes = GFPGANSizes.official()
        assert sizes.prior_channels == (512, 512, 512, 512, 512, 256, 128, 64)
        assert sizes.unet_channels == (256, 256, 256, 256, 256, 128, 64, 32)
        assert (sizes.codes, sizes.inner_size, sizes.image_channels) == (16, 512, 3)

    @pytest.mark.parametrize(
        "broken", [{"out_size": 32}, {"patch": 2}, {"prior_channels": (8, 8)}, {"unet_channels": (4, 4, 2, 2)}]
    )
    def test_sizes_that_do_not_fit_together_are_refused(self, broken: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="do not fit together"):
            GFPGAN(replace(SMALL, **broken))

    def test_a_state_without_a_needed_tensor_is_refused(self) -> None:
        state = dict(GFPGAN(SMALL).state_dict())
        del state["final_conv.weight"]
        with pytest.raises(KeyError, match="final_conv"):
            GFPGANSizes.from_state_dict(state)

    def test_unknown_keywords_are_refused(self) -> None:
        network, image = GFPGAN(SMALL), random_image(SMALL)
        calls: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
            (GFPGAN, (SMALL,), {"weight": 0.5}),
            (network, (image,), {"weight": 0.5}),
            (network, (image,), {"randomize_noise": False}),
            (network.forward_with_pyramid, (image,), {"return_rgb": True}),
            (GFPGANSizes.official, (), {"different_w": True}),
            (GFPGANSizes.from_dict, ({**SMALL.to_dict(), "narrow": 1},), {}),
        ]
        for call, arguments, keywords in calls:
            with pytest.raises(TypeError, match="unexpected keyword"):
                call(*arguments, **keywords)


class TestModulatedConvolution:
    @pytest.mark.parametrize("demodulate", [True, False])
    @pytest.mark.parametrize("kernel", [1, 3])
    def test_it_equals_modulating_the_weight(self, kernel: int, demodulate: bool, torch_rng: torch.Generator) -> None:
        layer = ModulatedConv2d(6, 5, kernel, 4, demodulate=demodulate)
        features = torch.randn(3, 6, 9, 7, generator=torch_rng)
        codes = torch.randn(3, 4, generator=torch_rng) * 3
        expected = []
        for sample, code in zip(features.double(), codes.double(), strict=True):
            style = layer.modulation.weight.double() @ code + layer.modulation.bias.double()
            weight = layer.weight[0].double() * style[None, :, None, None]
            if demodulate:  # each output channel's weights get length one (StyleGAN2, equation 3)
                weight = weight / weight.flatten(1).norm(dim=1)[:, None, None, None]
            expected.append(F.conv2d(sample[None], weight, padding=kernel // 2)[0])
        assert relative_error(layer(features, codes), torch.stack(expected)) < 1e-6

    def test_demodulation_ignores_the_size_of_the_style(self, torch_rng: torch.Generator) -> None:
        layer = ModulatedConv2d(6, 5, 3, 4)
        nn.init.zeros_(layer.modulation.bias)
        features, code = torch.randn(1, 6, 8, 8, generator=torch_rng), torch.randn(1, 4, generator=torch_rng)
        assert relative_error(layer(features, code * 100), layer(features, code)) < 1e-5


class TestPrecision:
    @each_case
    def test_bfloat16_stays_finite_and_near(self, case: GFPGANCase) -> None:
        network, image = build_ours(case), random_image(case.sizes)
        exact = network(image)
        rough, pyramid = network.bfloat16().forward_with_pyramid(image.bfloat16())
        assert rough.dtype == torch.bfloat16
        assert all(level.isfinite().all() for level in (rough, *pyramid))
        assert relative_error(rough, exact) < 0.03  # bf16 keeps 8 bits; the error grows with the depth

    def test_bfloat16_stays_finite_where_styles_are_huge(self) -> None:
        network, image = randomized(SMALL), random_image(SMALL)
        network.final_linear.weight.mul_(1e6)
        assert network.bfloat16()(image.bfloat16()).isfinite().all()

    def test_autocast_stays_finite_and_near(self) -> None:
        network, image = build_ours(CASES[0]), random_image(CASES[0].sizes)
        exact = network(image)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(image)
        assert relative_error(rough, exact) < 0.03


class TestPatchAndResidual:
    @pytest.mark.parametrize("patch", [1, 2, 4])
    def test_unfolding_undoes_folding(self, patch: int) -> None:
        sizes = replace(SMALL, out_size=16 * patch, patch=patch)
        image = random_image(sizes, batch=2)
        folded = F.pixel_unshuffle(image, patch)
        assert folded.shape == (2, sizes.image_channels, 16, 16)
        assert torch.equal(GFPGAN(sizes).unfold(folded), image)

    def test_shapes_with_patches(self) -> None:
        out, pyramid = randomized(PATCHED).forward_with_pyramid(random_image(PATCHED, batch=2))
        assert out.shape == (2, 3, 32, 32)
        assert [level.shape for level in pyramid] == [(2, 3, 16, 16), (2, 3, 32, 32)]

    @pytest.mark.parametrize("sizes", [replace(SMALL, residual=True), PATCHED])
    def test_a_residual_network_that_draws_nothing_returns_its_input(self, sizes: GFPGANSizes) -> None:
        network, image = randomized(sizes), random_image(sizes, batch=2)
        prior = network.stylegan_decoder
        for layer in (prior.to_rgb1, *prior.to_rgbs):
            nn.init.zeros_(layer.modulated_conv.weight)
            nn.init.zeros_(layer.bias)
        assert torch.equal(network(image), image)
        assert torch.equal(network.forward_with_pyramid(image)[0], image)

    def test_residual_adds_the_input_and_nothing_else(self) -> None:
        image = random_image(PATCHED)
        with_input = randomized(PATCHED)(image)
        without = randomized(replace(PATCHED, residual=False))(image)
        assert torch.equal(with_input, without + image)


class TestAblations:
    def test_without_modulation_only_the_codes_carry_the_picture(self) -> None:
        network = randomized(replace(SMALL, sft=False))
        codes, conditions, _ = network.encode(random_image(SMALL))
        assert conditions == []
        assert torch.equal(network(random_image(SMALL)), network.stylegan_decoder(codes))
        assert not any(name.startswith("condition_") for name in network.state_dict())

    def test_modulation_on_all_channels_leaves_none_as_it_was(self) -> None:
        for half in (True, False):
            prior = randomized(replace(SMALL, sft_half=half)).stylegan_decoder
            features = torch.ones(1, 8, 2, 2)
            width = 4 if half else 8
            out = prior._transform(features, (torch.full((1, width, 2, 2), 2.0), torch.full((1, width, 2, 2), 0.5)))
            assert (out == 2.5).sum() == 4 * width
            assert (out == 1).sum() == 4 * (8 - width)

    def test_new_weights_of_every_kind_keep_the_size_of_the_features(self) -> None:
        torch.manual_seed(0)
        for sizes in (SMALL, replace(SMALL, sft=False), replace(SMALL, sft_half=False), PATCHED):
            out, pyramid = GFPGAN(sizes).initialise().forward_with_pyramid(random_image(sizes, batch=2))
            assert all(0.01 < level.std() < 100 for level in (out, *pyramid))


class TestGradients:
    @pytest.mark.parametrize(
        "sizes", [SMALL, PATCHED, replace(SMALL, sft=False), replace(SMALL, sft_half=False)], ids=str
    )
    def test_a_loss_reaches_every_tensor_but_the_mapping_network(self, sizes: GFPGANSizes) -> None:
        network = randomized(sizes).train()
        with torch.enable_grad():
            out, pyramid = network.forward_with_pyramid(random_image(sizes, batch=2))
            torch.stack([level.square().mean() for level in (out, *pyramid)]).sum().backward()
        for name, parameter in network.named_parameters():
            if name.startswith("stylegan_decoder.style_mlp."):
                assert parameter.grad is None, name
            else:
                assert parameter.grad is not None and parameter.grad.any(), name
