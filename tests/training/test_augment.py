"""Augmentation: nothing at p = 0, each transformation what it says, gradients right, and p follows the overfitting."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from restorer.training import augment
from restorer.training.augment import AdaptiveAugment, DiffAugment

pytestmark = pytest.mark.usefixtures("torch_rng")


def _one(value: float) -> Tensor:
    return torch.tensor([value])


def _images(count: int = 1, size: int = 16) -> Tensor:
    return torch.rand(count, 3, size, size) * 2 - 1


class TestGeometry:
    def test_at_p_0_nothing_moves(self) -> None:
        images = _images(4)
        assert torch.equal(augment.draw_geometry(4, 0.0, 16), torch.eye(3).repeat(4, 1, 1))
        assert torch.allclose(augment.warp(images, torch.eye(3).repeat(4, 1, 1)), images, atol=1e-6)

    @pytest.mark.parametrize("turns", [1, 2, 3])
    def test_quarter_turns_are_numpys(self, turns: int) -> None:
        image = _images()
        turned = augment.warp(image, augment.rotation(_one(turns * math.pi / 2)))
        assert torch.allclose(turned, torch.rot90(image, turns, dims=(2, 3)), atol=1e-5)

    def test_minus_one_mirrors(self) -> None:
        image = _images()
        assert torch.allclose(augment.warp(image, augment.scaling(_one(-1), _one(1))), image.flip(-1), atol=1e-5)

    def test_a_shift_by_whole_pixels_is_exact_and_mirrors_at_the_border(self) -> None:
        image = _images()
        moved = augment.warp(image, augment.translation(_one(2 * 3 / 16), _one(-2 * 2 / 16)))  # reads 3 right, 2 above
        assert torch.allclose(moved[..., 2:, :-3], image[..., :-2, 3:], atol=1e-5)
        assert torch.allclose(moved[..., 2:, -3:], image[..., :-2, -3:].flip(-1), atol=1e-5)

    def test_scaling_by_two_shows_the_middle(self) -> None:
        ramp = torch.linspace(-1, 1, 33).expand(1, 3, 33, 33)
        enlarged = augment.warp(ramp, augment.scaling(_one(0.5), _one(0.5)))
        assert torch.allclose(enlarged, ramp / 2, atol=1e-5)

    def test_there_and_back(self) -> None:
        matrices = augment.draw_geometry(64, 1.0, 16)
        assert torch.allclose(matrices @ torch.linalg.inv(matrices), torch.eye(3).expand(64, 3, 3), atol=1e-4)
        ys, xs = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
        smooth = torch.stack([torch.sin(2 * xs), torch.cos(2 * ys), xs * ys])[None]
        small = augment.rotation(_one(0.3)) @ augment.scaling(_one(1.1), _one(0.9))
        back = augment.warp(augment.warp(smooth, small), torch.linalg.inv(small))
        middle = (..., slice(20, 44), slice(20, 44))
        assert torch.allclose(back[middle], smooth[middle], atol=0.01)

    @pytest.mark.parametrize("p", [0.2, 0.6])
    def test_each_happens_with_probability_p(self, p: float) -> None:
        matrices = augment.draw_geometry(4000, p, 64)
        still = (matrices == torch.eye(3)).flatten(1).all(dim=1).float().mean()
        # half of the draws to mirror change nothing, a quarter of the quarter turns; size, aspect, drift, shift and
        # both turns together each leave 1 - p
        expected = (1 - p / 2) * (1 - 3 / 4 * p) * (1 - p) ** 5
        assert abs(float(still) / expected - 1) < 4 / math.sqrt(4000 * expected)

    def test_sizes_and_shifts_are_the_papers(self) -> None:
        matrices = augment.draw_geometry(4000, 1.0, 64)
        area = torch.linalg.det(matrices).abs().log()  # 1/s²: the aspect keeps the area
        assert abs(float(area.std()) / (2 * 0.2 * math.log(2)) - 1) < 0.05
        assert abs(float(area.mean())) < 0.02
        assert matrices[:, :2, 2].mean(dim=0).abs().max() < 0.03


class TestColour:
    @pytest.mark.parametrize(
        ("make", "neutral"),
        [
            (augment.brightness, 0.0),
            (augment.contrast, 1.0),
            (augment.luma_flip, 0.0),
            (augment.hue_rotation, 0.0),
            (augment.saturation, 1.0),
        ],
    )
    def test_neutral_values_change_nothing(self, make: object, neutral: float) -> None:
        assert torch.allclose(make(_one(neutral)), torch.eye(4)[None], atol=1e-6)  # type: ignore[operator]

    def test_at_p_0_nothing_changes(self) -> None:
        assert torch.allclose(augment.draw_colours(8, 0.0), torch.eye(4).expand(8, 4, 4), atol=1e-6)

    def test_brightness_contrast_and_saturation_by_hand(self) -> None:
        image = torch.tensor([0.9, 0.3, -0.3]).view(1, 3, 1, 1)
        assert torch.allclose(augment.recolour(image, augment.brightness(_one(0.2))), image + 0.2)
        assert torch.allclose(augment.recolour(image, augment.contrast(_one(0.5))), image / 2)
        halved = augment.recolour(image, augment.saturation(_one(0.5)))
        assert torch.allclose(halved.flatten(), torch.tensor([0.6, 0.3, 0.0]), atol=1e-6)  # towards the mean, 0.3

    def test_a_third_turn_of_hue_exchanges_the_channels(self) -> None:
        image = _images()
        turned = augment.recolour(image, augment.hue_rotation(_one(2 * math.pi / 3)))
        assert torch.allclose(turned, image[:, [2, 0, 1]], atol=1e-5)  # red becomes green

    def test_the_luma_flip_mirrors_greys_keeps_colours_and_undoes_itself(self) -> None:
        image = _images()
        flipped = augment.recolour(image, augment.luma_flip(_one(1)))
        mean = image.mean(dim=1, keepdim=True)
        assert torch.allclose(flipped, image - 2 * mean, atol=1e-5)
        assert torch.allclose(augment.recolour(flipped, augment.luma_flip(_one(1))), image, atol=1e-5)

    def test_brightness_spreads_as_the_paper_says(self) -> None:
        matrices = augment.draw_colours(20_000, 1.0)
        offset = matrices[:, :3, 3].mean(dim=1)
        assert abs(float(offset.mean())) < 0.01
        factor = math.exp(2 * (0.5 * math.log(2)) ** 2)  # E[c²] of the contrast, the only other factor of a grey
        assert abs(float(offset.square().mean()) / (0.2**2 * factor) - 1) < 0.06


class TestGradients:
    @pytest.mark.parametrize("kind", ["ada", "diffaugment"])
    def test_they_are_right(self, kind: str) -> None:
        augmentation = AdaptiveAugment(p=1.0) if kind == "ada" else DiffAugment()
        images = _images(2, 6).double().requires_grad_(True)

        def fixed(images: Tensor) -> Tensor:
            return augmentation(images, torch.Generator().manual_seed(3))

        assert torch.autograd.gradcheck(fixed, images)

    @pytest.mark.parametrize("kind", ["ada", "diffaugment"])
    def test_a_generator_decides_and_nothing_else(self, kind: str) -> None:
        augmentation = AdaptiveAugment(p=0.7) if kind == "ada" else DiffAugment()
        images = _images(4)
        before = images.clone()
        first, second = (augmentation(images, torch.Generator().manual_seed(5)) for _ in range(2))
        assert torch.equal(first, second) and torch.equal(images, before)
        assert not torch.equal(first, augmentation(images, torch.Generator().manual_seed(6)))


class TestAdaptation:
    def test_p_0_returns_the_images(self) -> None:
        images = _images(2)
        assert AdaptiveAugment()(images) is images

    def test_p_rises_while_real_images_are_recognised_and_falls_else(self) -> None:
        ada = AdaptiveAugment(target=0.6, images=1000)
        for _ in range(4):
            ada.observe(0.8, 10)
        assert (ada.r_t, ada.p) == pytest.approx((0.8, 40 / 1000))
        for _ in range(8):
            ada.observe(1.0, 10)
        assert ada.p == pytest.approx(0.12)
        for _ in range(4):
            ada.observe(0.2, 10)
        assert ada.p == pytest.approx(0.08)

    def test_every_fourth_batch_adjusts_by_their_mean(self) -> None:
        ada = AdaptiveAugment(images=100)
        for sign in (1.0, 1.0, 1.0, -1.0):  # mean 0.5, below the target
            assert ada.p == 0
            ada.observe(sign, 5)
        assert (ada.r_t, ada.p) == (0.5, 0)

    def test_p_stays_a_probability(self) -> None:
        ada = AdaptiveAugment(images=10)
        for _ in range(40):
            ada.observe(1.0, 10)
        assert ada.p == 1
        assert ada(_images(4)).isfinite().all()

    def test_from_0_to_1_takes_the_images_asked_for(self) -> None:
        ada, images = AdaptiveAugment(images=5000), 0
        while ada.p < 1:
            ada.observe(1.0, 25)
            images += 25
        assert images == 5000

    def test_a_resumed_run_goes_on_within_an_interval(self) -> None:
        whole, first, second = AdaptiveAugment(images=100), AdaptiveAugment(images=100), AdaptiveAugment(images=100)
        signs = [0.9, 0.7, 1.0, 0.2, 0.9, 0.9]
        for sign in signs:
            whole.observe(sign, 4)
        for sign in signs[:3]:
            first.observe(sign, 4)
        second.load_state_dict(first.state_dict())
        for sign in signs[3:]:
            second.observe(sign, 4)
        assert second.state_dict() == whole.state_dict()


class TestDiffAugment:
    def test_moving_keeps_pixels_and_brings_in_grey(self) -> None:
        images = torch.arange(1, 257.0).view(1, 1, 16, 16).expand(200, 1, 16, 16)
        moved = augment.move(images)
        shifts = set()
        for image in moved[:, 0]:
            y, x = (int(value) for value in (image > 0).nonzero()[0])
            top = int(image[y, x]) - 1
            dy, dx = y - top // 16, x - top % 16
            shifts.add((dy, dx))
            wanted = torch.zeros(20, 20)
            wanted[2 + dy : 18 + dy, 2 + dx : 18 + dx] = images[0, 0]
            assert torch.equal(image, wanted[2:18, 2:18])
        assert shifts == {(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)}

    def test_a_square_of_half_the_side_is_cut_out(self) -> None:
        cut = augment.cut_out(torch.ones(500, 3, 16, 16))
        areas = (cut[:, 0] == 0).sum(dim=(1, 2))
        assert set(cut.unique().tolist()) == {0.0, 1.0}
        assert areas.max() == 64 and areas.min() == 16  # whole, or its quarter in a corner
        assert torch.equal(cut[:, 0], cut[:, 1])

    def test_colours_by_their_means(self) -> None:
        images = torch.zeros(4000, 3, 2, 2)
        images[:, 0], images[:, 2] = 0.5, -0.5  # grey 0, so that saturation and contrast show in red alone
        jittered = augment.jitter(images)
        grey = jittered.mean(dim=(1, 2, 3))
        red = jittered[:, 0, 0, 0] - grey
        assert abs(float(grey.mean())) < 0.02 and grey.abs().max() <= 0.5
        assert abs(float(red.mean()) - 0.5) < 0.02 and red.max() <= 0.5 * 2 * 1.5
