"""The background against Real-ESRGAN's own program, run beside it with the same random weights.

``realesrgan`` does not install on Python 3.13, and asks for a torchvision module that is gone since 0.17, which these
tests put in for as long as they import it.
"""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from restorer.pipeline.upsample import EDGE, Background, upsample_background
from restorer.runtime import Engine, open_engine
from tests.networks_at_hand import weights_of, with_contrast

pytestmark = [
    pytest.mark.usefixtures("torch_rng"),
    pytest.mark.skipif(sys.version_info >= (3, 13), reason="realesrgan does not install on Python 3.13"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

SMALL = {"num_feat": 8, "num_block": 2, "num_grow_ch": 32}
OFFICIAL = {"num_feat": 64, "num_block": 23, "num_grow_ch": 32}


@contextmanager
def missing_module_put_in() -> Iterator[None]:
    from torchvision.transforms.functional import rgb_to_grayscale

    name = "torchvision.transforms.functional_tensor"
    stand_in = types.ModuleType(name)
    stand_in.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        del sys.modules[name]


@pytest.fixture(scope="module")
def upstream() -> SimpleNamespace:
    with missing_module_put_in(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        realesrgan = pytest.importorskip("realesrgan")
        from basicsr.archs.rrdbnet_arch import RRDBNet
        from realesrgan.archs.srvgg_arch import SRVGGNetCompact
    return SimpleNamespace(enhancer=realesrgan.RealESRGANer, rrdb=RRDBNet, compact=SRVGGNetCompact)


def lively(module: nn.Module) -> nn.Module:
    return with_contrast(module, torch.from_numpy(photo(64, 64)).permute(2, 0, 1)[None] / 255)


def photo(height: int = 70, width: int = 61) -> NDArray[np.uint8]:
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[100 : 100 + height, 180 : 180 + width])


def network(upstream: SimpleNamespace, name: str, sizes: dict[str, int]) -> tuple[Callable[[], nn.Module], int]:
    """Return what builds upstream's network of a published name, and its factor."""
    if name == "general-x4v3":
        convolutions = 32 if sizes is OFFICIAL else 3
        features = sizes["num_feat"]
        return lambda: upstream.compact(num_feat=features, num_conv=convolutions, upscale=4, act_type="prelu"), 4
    scale = {"x2plus": 2, "x4plus": 4}[name]
    return lambda: upstream.rrdb(num_in_ch=3, num_out_ch=3, scale=scale, **sizes), scale


class Pair:
    """Upstream's program and our engine with one file of random weights."""

    def __init__(self, upstream: SimpleNamespace, name: str, folder: Path, sizes: dict[str, int] = SMALL) -> None:
        self.upstream = upstream
        self.build, self.factor = network(upstream, name, sizes)
        self.path = folder / f"{name}.pth"
        torch.save({"params_ema": lively(self.build()).state_dict()}, self.path)

    def theirs(self, pixels: NDArray[Any], **settings: Any) -> NDArray[Any]:
        """Enlarge RGB or grey pixels as upstream does, whose colour order is BGR."""
        enhancer = self.upstream.enhancer(
            self.factor, str(self.path), model=self.build(), device=torch.device("cpu"), **settings
        )
        output, _ = enhancer.enhance(pixels[..., ::-1] if pixels.ndim == 3 else pixels)
        return np.ascontiguousarray(output[..., ::-1] if pixels.ndim == 3 else output)

    def engine(self, backend: Any = "torch") -> Engine:
        return open_engine(weights_of(self.path), device="cpu", precision="fp32", backend=backend)

    def ours(self, pixels: NDArray[Any], *, tile: int = 0, backend: str = "torch") -> NDArray[Any]:
        height, width = pixels.shape[:2]
        size = (width * self.factor, height * self.factor)
        return upsample_background(pixels, *size, self.engine(backend), tile=tile).pixels


def assert_equal_but_for_rounding(ours: NDArray[Any], theirs: NDArray[Any], levels: int = 1) -> None:
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    assert theirs.std() > 0.03 * np.iinfo(theirs.dtype).max, "a flat picture would equal anything"
    difference = np.abs(ours.astype(int) - theirs)
    assert difference.max() <= levels
    if levels == 1:
        assert (difference > 0).mean() < 1e-3


NAMES = ["x2plus", "x4plus", "general-x4v3"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", NAMES)
def test_one_tile_equals_upstream(upstream: SimpleNamespace, tmp_path: Path, name: str, dtype: type) -> None:
    """Given the mirror image that we put around a photograph, upstream computes the same, to its very edges."""
    pair = Pair(upstream, name, tmp_path)
    pixels = photo().astype(dtype) * dtype(257 if dtype is np.uint16 else 1)
    around = EDGE + pixels.shape[1] % 2  # x2plus takes even sides
    mirrored = np.pad(pixels, ((EDGE, EDGE), (EDGE, around), (0, 0)), mode="symmetric")
    inner = slice(EDGE * pair.factor, -EDGE * pair.factor), slice(EDGE * pair.factor, -around * pair.factor)
    theirs = pair.theirs(mirrored, pre_pad=0)[inner]
    # A level of 16 bits is as small as float32's own error.
    assert_equal_but_for_rounding(pair.ours(pixels), theirs, levels=1 if dtype is np.uint8 else 2)


@pytest.mark.parametrize("name", NAMES)
def test_upstream_as_it_is_called_gives_the_same_away_from_the_edges(
    upstream: SimpleNamespace, tmp_path: Path, name: str
) -> None:
    """Upstream lets the network's zeros begin at the photograph's edge, so there the two differ."""
    pair = Pair(upstream, name, tmp_path)
    pixels = photo(150, 140)
    far = 45 * pair.factor  # beyond what two blocks of fifteen convolutions see
    inner = np.s_[far:-far, far:-far]
    assert_equal_but_for_rounding(pair.ours(pixels)[inner], pair.theirs(pixels)[inner])


def test_openvino_equals_upstream(upstream: SimpleNamespace, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    pair = Pair(upstream, "x2plus", tmp_path)
    pixels = photo(150, 140)
    inner = np.s_[90:-90, 90:-90]
    difference = np.abs(pair.ours(pixels, backend="openvino").astype(int) - pair.theirs(pixels))[inner]
    assert difference.max() <= 1


def test_a_grey_photograph_equals_upstreams_grey(upstream: SimpleNamespace, tmp_path: Path) -> None:
    pair = Pair(upstream, "x4plus", tmp_path)
    grey = photo(150, 140)[..., 1]
    ours = Background(pair.engine(), tile=0)(np.repeat(grey[..., None], 3, axis=2), 140 * 4, 150 * 4)
    inner = np.s_[180:-180, 180:-180]
    assert (ours == ours[..., :1]).all()
    assert np.abs(ours[..., 0].astype(int) - pair.theirs(grey))[inner].max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_networks_of_the_official_shape_equal_upstream(upstream: SimpleNamespace, tmp_path: Path, name: str) -> None:
    pair = Pair(upstream, name, tmp_path, OFFICIAL)
    pixels = photo(40, 40)
    mirrored = np.pad(pixels, ((EDGE, EDGE), (EDGE, EDGE), (0, 0)), mode="symmetric")
    inner = np.s_[EDGE * pair.factor : -EDGE * pair.factor, EDGE * pair.factor : -EDGE * pair.factor]
    assert_equal_but_for_rounding(pair.ours(pixels), pair.theirs(mirrored, pre_pad=0)[inner])
