"""Weight files of every supported kind come back as the same network; everything else is refused with a reason."""

from __future__ import annotations

import json
import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import nn

from restorer.checkpoints import load_checkpoint, save_checkpoint
from restorer.checkpoints.safetensors_file import read_safetensors, safetensors_bytes
from restorer.contract import NetworkContract
from restorer.errors import OutputError, WeightsError
from restorer.networks.gfpgan import GFPGAN, GFPGANSizes
from tests.networks_at_hand import bisenet, compact, retinaface, rrdb, save_pth, small_gfpgan

pytestmark = pytest.mark.usefixtures("torch_rng")


def outputs(module: nn.Module, side: int) -> list[torch.Tensor]:
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        result = module(image)
    return list(result) if isinstance(result, tuple) else [result]


def assert_same(loaded: nn.Module, original: nn.Module, side: int) -> None:
    ours, theirs = outputs(loaded, side), outputs(original, side)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    "sizes",
    [
        GFPGANSizes.official(64, style_dim=16, narrow=1 / 32, mlp_layers=1),
        GFPGANSizes.official(32, style_dim=8, channel_multiplier=1, narrow=1 / 16, mlp_layers=3),
        GFPGANSizes.official(32, style_dim=8, narrow=1 / 16, sft_half=False),
        replace(GFPGANSizes.official(32, style_dim=8, narrow=1 / 16), sft=False),
        GFPGANSizes(64, 12, (16, 12, 8), (10, 8, 6), mlp_layers=2, code_per_layer=False, patch=4),
        GFPGANSizes(32, 12, (16, 12, 8), (8, 8, 4), mlp_layers=2, patch=2, residual=True),
    ],
    ids=["official", "narrow", "whole-sft", "no-sft", "patch", "residual"],
)
def test_gfpgan_of_any_size_survives(tmp_path: Path, sizes: GFPGANSizes) -> None:
    module = GFPGAN(sizes).eval()
    save_checkpoint(tmp_path / "face.safetensors", module)
    loaded = load_checkpoint(tmp_path / "face.safetensors")
    assert isinstance(loaded.module, GFPGAN)
    assert loaded.module.sizes == sizes
    assert (loaded.contract.kind, loaded.contract.input_size) == ("face", sizes.out_size)
    assert_same(loaded.module, module, sizes.out_size)


@pytest.mark.parametrize("group", ["params_ema", "params", "state_dict", None])
def test_weights_are_found_in_the_groups_training_programs_use(tmp_path: Path, group: str | None) -> None:
    module = small_gfpgan(32)
    assert_same(load_checkpoint(save_pth(tmp_path / "face.pth", module, group)).module, module, 32)


def test_averaged_weights_go_before_the_others(tmp_path: Path) -> None:
    averaged, last = small_gfpgan(32), small_gfpgan(32)
    torch.save({"params": last.state_dict(), "params_ema": averaged.state_dict(), "step": 3}, tmp_path / "both.pth")
    assert_same(load_checkpoint(tmp_path / "both.pth").module, averaged, 32)


def test_prefix_of_the_data_parallel_wrapper_is_removed(tmp_path: Path) -> None:
    module = compact()
    torch.save({f"module.{key}": tensor for key, tensor in module.state_dict().items()}, tmp_path / "wrapped.pth")
    assert_same(load_checkpoint(tmp_path / "wrapped.pth").module, module, 16)


def test_old_format_of_torch_is_read(tmp_path: Path) -> None:
    module = compact()
    torch.save(module.state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert_same(load_checkpoint(tmp_path / "old.pth").module, module, 16)


def test_mobile_retinaface(tmp_path: Path) -> None:
    module = retinaface()
    loaded = load_checkpoint(save_pth(tmp_path / "detector.pth", module))
    assert loaded.contract == NetworkContract(
        "retinaface-mobilenet0.25",
        "detector",
        colour_order="bgr",
        mean=(104.0, 117.0, 123.0),
        precisions=("bf16", "fp32"),
    )
    assert_same(loaded.module, module, 64)
    # anchors of a 64×64 image: 2 at each cell of the 8×8, 4×4 and 2×2 maps
    boxes, classes, landmarks = outputs(loaded.module, 64)
    assert (boxes.shape, classes.shape, landmarks.shape) == ((1, 168, 4), (1, 168, 2), (1, 168, 10))
    assert torch.allclose(classes.sum(-1), torch.ones(1, 168))  # probabilities


@pytest.mark.slow
def test_resnet_retinaface(tmp_path: Path) -> None:
    module = retinaface("resnet50")
    loaded = load_checkpoint(save_pth(tmp_path / "detector.pth", module))
    assert loaded.contract.architecture == "retinaface-resnet50"
    assert_same(loaded.module, module, 64)


def test_bisenet_gives_its_first_output_only(tmp_path: Path) -> None:
    module = bisenet()
    loaded = load_checkpoint(save_pth(tmp_path / "parser.pth", module))
    assert (loaded.contract.kind, loaded.contract.input_size) == ("parser", 512)
    (logits,) = outputs(loaded.module, 64)
    assert logits.shape == (1, 19, 64, 64)
    assert torch.equal(logits, outputs(module, 64)[0])
    # torchvision's normalisation of the pixel value 200
    contract = loaded.contract
    for channel, (mean, std) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        value = (200 - contract.mean[channel]) * contract.scale / contract.std[channel]
        assert value == pytest.approx((200 / 255 - mean) / std)


@pytest.mark.slow
def test_bisenet_can_be_saved_again(tmp_path: Path) -> None:
    loaded = load_checkpoint(save_pth(tmp_path / "parser.pth", bisenet()))
    save_checkpoint(tmp_path / "again.safetensors", loaded.module)
    assert load_checkpoint(tmp_path / "again.safetensors").contract == loaded.contract


@pytest.mark.parametrize(
    ("module", "upscale", "multiple"),
    [
        (rrdb(4), 4, 1),
        (rrdb(4, filters=12, blocks=3), 4, 1),
        (rrdb(4, shuffle_factor=2), 2, 2),
        (compact(4), 4, 1),
        (compact(2, features=12, convolutions=5), 2, 1),
    ],
    ids=["x4", "x4-wider", "x2-folded", "compact-x4", "compact-x2"],
)
def test_upsamplers_of_any_size(tmp_path: Path, module: nn.Module, upscale: int, multiple: int) -> None:
    loaded = load_checkpoint(save_pth(tmp_path / "enlarge.pth", module, "params_ema"))
    assert (loaded.contract.kind, loaded.contract.upscale, loaded.contract.size_multiple) == (
        "upsampler",
        upscale,
        multiple,
    )
    assert outputs(loaded.module, 16)[0].shape == (1, 3, 16 * upscale, 16 * upscale)
    assert_same(loaded.module, module, 16)


def test_loaded_network_is_ready_to_run(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "half.safetensors", small_gfpgan(32).train(), dtype=torch.float16)
    module = load_checkpoint(tmp_path / "half.safetensors").module
    assert not any(layer.training for layer in module.modules())
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_a_file_states_its_own_contract(tmp_path: Path) -> None:
    module = small_gfpgan(32)
    contract = NetworkContract("lite", "face", mean=(127.5,) * 3, scale=1 / 127.5, input_size=32)
    save_checkpoint(tmp_path / "lite.safetensors", module, contract)
    assert load_checkpoint(tmp_path / "lite.safetensors").contract == contract


@pytest.mark.parametrize("stated", [{"kind": "detector"}, {"input_size": 512}, {"flavour": 3}])
def test_a_contract_that_cannot_be_is_refused(tmp_path: Path, stated: dict[str, object]) -> None:
    config = {"restorer": json.dumps({"contract": stated})}
    save_file(small_gfpgan(32).state_dict(), tmp_path / "bent.safetensors", config)
    with pytest.raises(WeightsError, match="states a contract"):
        load_checkpoint(tmp_path / "bent.safetensors")


# ---- refusals


def refusal(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


def test_missing_file(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "nowhere.pth")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"hello", "neither"),
        (b"<!DOCTYPE html><html>not found</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"PK\x03\x04 cut off", "damaged"),
        (b"\x80\x02 cut off", "damaged"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{ cut off", "damaged"),
    ],
)
def test_what_is_no_weight_file(tmp_path: Path, content: bytes, word: str) -> None:
    (tmp_path / "odd.pth").write_bytes(content)
    assert word in refusal(tmp_path / "odd.pth")


@pytest.mark.parametrize("old_format", [True, False])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_file(tmp_path: Path, share: float, old_format: bool) -> None:
    path = tmp_path / "cut.pth"
    torch.save(compact().state_dict(), path, _use_new_zipfile_serialization=not old_format)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "truncated or damaged" in refusal(path)


def test_truncated_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    save_checkpoint(path, compact())
    path.write_bytes(path.read_bytes()[:-100])
    assert "truncated or damaged" in refusal(path)


def test_safetensors_without_their_library(tmp_path: Path) -> None:
    path = tmp_path / "all.safetensors"
    generator = torch.Generator().manual_seed(2)
    tensors = {
        str(kind): (torch.rand(3, 5, generator=generator) * 100).to(kind)
        for kind in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
    }
    tensors |= {"scalar": torch.tensor(7), "nothing": torch.empty(0, 4), "long": torch.rand(2, 3, 1, 4)}
    save_file(tensors, path, {"restorer": "{}"})
    read, metadata = read_safetensors(path)
    expected = load_file(path)
    assert metadata == {"restorer": "{}"} and set(read) == set(expected)
    for name, tensor in expected.items():
        assert (read[name].dtype, read[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(read[name], tensor)


@pytest.mark.parametrize(
    "damage",
    [
        lambda header: header["x"].update(data_offsets=[0, 20]),
        lambda header: header["x"].update(data_offsets=[-8, 16]),
        lambda header: header["x"].update(data_offsets=[8, 32]),
        lambda header: header["x"].update(shape=[2, 4]),
        lambda header: header["x"].update(shape=[-2, -3]),
        lambda header: header["x"].update(dtype="F31"),
        lambda header: header["x"].pop("dtype"),
        lambda header: header.update(x=[1]),
    ],
)
def test_safetensors_that_lie_are_refused_without_their_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[dict[str, Any]], object]
) -> None:
    content = save({"x": torch.arange(6.0).reshape(2, 3)})
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    damage(header)
    stated = json.dumps(header).encode()
    path = tmp_path / "odd.safetensors"
    path.write_bytes(len(stated).to_bytes(8, "little") + stated + content[8 + length :])
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert "truncated or damaged" in refusal(path)
    for size in (4, 40, len(stated)):
        path.write_bytes(content[:size])
        with pytest.raises(WeightsError):
            load_checkpoint(path)


class RunsCode:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> object:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("protocol", [None, 2, 4])
def test_code_is_refused_and_not_run(tmp_path: Path, protocol: int | None) -> None:
    path, mark = tmp_path / "evil.pth", tmp_path / "ran"
    if protocol is None:
        torch.save({"params": RunsCode(mark)}, path)
    else:
        path.write_bytes(pickle.dumps({"params": RunsCode(mark)}, protocol))
    with pytest.raises(WeightsError, match="is refused") as caught:
        load_checkpoint(path)
    assert not mark.exists()
    assert "weights_only" not in str(caught.value)  # no advice to read it unsafely
    assert isinstance(caught.value.__cause__, pickle.UnpicklingError)


def test_whole_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "module.pth")
    assert "torch.nn.modules.linear.Linear" in refusal(tmp_path / "module.pth")


def test_original_gfpgan_is_refused(tmp_path: Path) -> None:
    state = {"conv_body_first.0.weight": torch.zeros(1), "stylegan_decoder.style_mlp.1.weight": torch.zeros(1)}
    torch.save(state, tmp_path / "GFPGANv1.pth")
    assert "needs compiled CUDA code" in refusal(tmp_path / "GFPGANv1.pth")


def test_unknown_network_is_named_by_its_tensors(tmp_path: Path) -> None:
    torch.save({"encoder.weight": torch.zeros(3)}, tmp_path / "other.pth")
    message = refusal(tmp_path / "other.pth")
    assert "encoder.weight" in message and "GFP-GAN" in message and "Real-ESRGAN" in message


@pytest.mark.parametrize("content", [[1, 2], {"step": 3}, torch.zeros(2)])
def test_no_network_at_all(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "data.pth")
    assert "supported are" in refusal(tmp_path / "data.pth")


def test_a_tensor_too_few_too_many_or_of_another_shape(tmp_path: Path) -> None:
    state = small_gfpgan(32).state_dict()
    few = OrderedDict(item for item in state.items() if item[0] != "final_linear.bias")
    many = {**state, "extra.weight": torch.zeros(1)}
    bent = {**state, "final_conv.bias": torch.zeros(3)}
    for name, content in (("few", few), ("many", many), ("bent", bent)):
        torch.save(content, tmp_path / f"{name}.pth")
        assert "do not fit" in refusal(tmp_path / f"{name}.pth")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite(tmp_path: Path, number: float) -> None:
    state = compact().state_dict()
    state["body.0.weight"][0, 0, 0, 0] = number
    torch.save(state, tmp_path / "diverged.pth")
    assert "not finite" in refusal(tmp_path / "diverged.pth")


def test_bisenet_of_another_class_count(tmp_path: Path) -> None:
    from facexlib.parsing.bisenet import BiSeNet

    assert "11 classes" in refusal(save_pth(tmp_path / "parser.pth", BiSeNet(11)))


def test_one_channel_upsampler(tmp_path: Path) -> None:
    from spandrel.architectures.Compact import Compact

    module = Compact(num_in_ch=1, num_out_ch=1, num_feat=8, num_conv=2)
    assert "only RGB" in refusal(save_pth(tmp_path / "grey.pth", module))


def test_saving_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="Cannot write"):
        save_checkpoint(tmp_path / "file" / "face.safetensors", compact())


def test_saving_leaves_no_rest(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "face.safetensors", compact())
    save_checkpoint(tmp_path / "face.safetensors", compact(2))
    assert [path.name for path in tmp_path.iterdir()] == ["face.safetensors"]
    assert load_checkpoint(tmp_path / "face.safetensors").contract.upscale == 2


def test_files_are_written_as_the_safetensors_library_reads_them(tmp_path: Path) -> None:
    """All types, no elements, no dimensions, a transposed layout; and wide types lie at multiples of their width."""
    kinds = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
    tensors = {f"t{number}": (torch.randn(3, 5) * 9).to(kind) for number, kind in enumerate(kinds)}
    tensors |= {
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "turned": torch.randn(4, 6).t(),
        "ä": torch.ones(1),
    }
    path = tmp_path / "mine.safetensors"
    path.write_bytes(safetensors_bytes(tensors, {"format": "pt", "note": "ü"}))
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt", "note": "ü"} and set(file.keys()) == set(tensors)
        for name, tensor in tensors.items():
            found = file.get_tensor(name)
            assert found.dtype == tensor.dtype and torch.equal(found, tensor), name
