"""The quick convolution of a doubled map: held against doubling first, as it is defined."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from restorer.networks import doubling
from restorer.networks.doubling import LEAST_SIDE, doubled_convolution


def plain(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    doubled = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
    return F.conv2d(doubled, weight, bias, padding=1)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 40), (64, 35)])
@pytest.mark.parametrize("biased", [True, False])
def test_it_is_the_convolution_of_the_doubled_map_to_the_last_pixel(height: int, width: int, biased: bool) -> None:
    torch.manual_seed(0)
    features, weight = torch.randn(2, 5, height, width).double(), torch.randn(7, 5, 3, 3).double()
    bias = torch.randn(7).double() if biased else None
    wanted = plain(features, weight, bias)
    with torch.inference_mode():
        quick = doubled_convolution(features, weight, bias)
    assert quick.shape == (2, 7, 2 * height, 2 * width)
    torch.testing.assert_close(quick, wanted, rtol=0, atol=1e-12)


def test_training_and_small_maps_take_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(doubling, "_inside", fail)
    torch.manual_seed(0)
    weight = torch.randn(4, 3, 3, 3, requires_grad=True)
    for side, grad in ((LEAST_SIDE - 1, False), (LEAST_SIDE, True)):
        features = torch.randn(1, 3, side, side)
        with torch.set_grad_enabled(grad):
            assert torch.equal(doubled_convolution(features, weight), plain(features, weight, None))
    with pytest.raises(AssertionError), torch.no_grad():
        doubled_convolution(torch.randn(1, 3, LEAST_SIDE, LEAST_SIDE), weight)


def test_it_multiplies_a_quarter_as_often() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    features, weight = torch.randn(1, 64, 128, 128), torch.randn(64, 64, 3, 3)
    counts = []
    for run in (plain, doubled_convolution):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            run(features, weight, None)
        counts.append(counter.get_total_flops())
    assert counts[1] < 0.31 * counts[0]
