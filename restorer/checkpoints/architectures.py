"""The networks that are known here: how each is recognised by its tensors' names, and built in the sizes found."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from restorer.checkpoints.reading import StateDict
from restorer.contract import NetworkContract
from restorer.errors import WeightsError
from restorer.networks.gfpgan import GFPGAN, GFPGANSizes
from restorer.networks.retinaface import RetinaFaceMobileNet
from restorer.networks.unet import PlainUNet, UNetSizes

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor

_IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
_IMAGENET_STD = (0.229, 0.224, 0.225)
"""ImageNet's statistics as torchvision documents them: RGB, the mean in 0..255, the deviation in 0..1."""


@dataclass(frozen=True)
class Checkpoint:
    """A network ready to run and what it expects."""

    module: nn.Module
    """In eval mode on the processor, float32, without gradients."""
    contract: NetworkContract
    """Its inputs and outputs."""


class FirstOutput(nn.Module):
    """Drop all but the first output, so that nothing computes the others."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: Tensor) -> Tensor:
        """Return the first output."""
        out: Tensor = self.inner(image)[0]
        return out


def _is_gfpgan(state: StateDict) -> bool:
    return any(key.startswith("stylegan_decoder.") for key in state) and any(
        key.startswith("conv_body_first.") for key in state
    )


def _gfpgan(state: StateDict, config: dict[str, Any]) -> Checkpoint:
    if "conv_body_first.weight" not in state:
        raise WeightsError(
            "holds GFP-GAN in its original form, which needs compiled CUDA code: use a clean one, "
            "such as GFPGANv1.4.pth."
        )
    sizes = GFPGANSizes.from_state_dict(state)
    # the residual connection has no weights and so leaves no trace among the tensors
    sizes = dataclasses.replace(sizes, residual=bool(config.get("sizes", {}).get("residual", False)))
    module = GFPGAN(sizes)
    module.load_state_dict(state, strict=True)
    return Checkpoint(module, dataclasses.replace(GFPGAN.contract, input_size=sizes.out_size))


def _is_plain_unet(state: StateDict) -> bool:
    return {"first.weight", "middle.weight", "up.0.skip.weight", "last.weight"} <= state.keys()


def _plain_unet(state: StateDict, config: dict[str, Any]) -> Checkpoint:
    out_size = int(config.get("sizes", {}).get("out_size", 512))
    module = PlainUNet(UNetSizes.from_state_dict(state, out_size=out_size))
    module.load_state_dict(state, strict=True)
    return Checkpoint(module, dataclasses.replace(PlainUNet.contract, input_size=out_size))


def _is_retinaface(state: StateDict) -> bool:
    return "ClassHead.0.conv1x1.weight" in state and any(key.startswith("ssh1.") for key in state)


def _retinaface(state: StateDict, config: dict[str, Any]) -> Checkpoint:
    module: nn.Module
    if "body.layer4.0.conv1.weight" in state:
        from facexlib.detection.retinaface import RetinaFace

        name = "retinaface-resnet50"
        module = RetinaFace(network_name="resnet50", phase="test", device=torch.device("cpu"))
    else:
        name, module = "retinaface-mobilenet0.25", RetinaFaceMobileNet()
    module.load_state_dict(state, strict=True)
    # Means of RetinaFace's training (its data/config), blue first. In bf16 the points of 139 faces in 31 photographs
    # moved by 0.4% of the eye distance (median; MobileNet-0.25), a fourteenth of what cutting off 5 pixels moves them.
    contract = NetworkContract(
        name, "detector", colour_order="bgr", mean=(104.0, 117.0, 123.0), precisions=("bf16", "fp32")
    )
    return Checkpoint(module, contract)


def _is_bisenet(state: StateDict) -> bool:
    return "cp.resnet.conv1.weight" in state and "conv_out.conv_out.weight" in state


def _bisenet(state: StateDict, config: dict[str, Any]) -> Checkpoint:
    from facexlib.parsing.bisenet import BiSeNet

    classes = state["conv_out.conv_out.weight"].shape[0]
    if classes != 19:
        raise WeightsError(
            f"holds a BiSeNet with {classes} classes: only the one with 19 parts of the face is supported."
        )
    module = BiSeNet(num_class=classes)
    module.load_state_dict(state, strict=True)
    contract = NetworkContract(
        "bisenet",
        "parser",
        scale=1 / 255,
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
        input_size=512,
    )
    return Checkpoint(FirstOutput(module), contract)


def _is_arcface(state: StateDict) -> bool:
    return (
        "input_layer.0.weight" in state
        and "output_layer.3.weight" in state
        and "body.0.res_layer.5.fc1.weight" in state
    )


def _arcface(state: StateDict, config: dict[str, Any]) -> Checkpoint:
    from facexlib.recognition.arcface_arch import Backbone

    module = Backbone(num_layers=50, drop_ratio=0.6, mode="ir_se")
    module.load_state_dict(state, strict=True)
    contract = NetworkContract("arcface-ir-se50", "identity", mean=(127.5,) * 3, scale=1 / 127.5, input_size=112)
    return Checkpoint(module, contract)


def _is_rrdb(state: StateDict) -> bool:
    from spandrel.architectures.ESRGAN import ESRGANArch

    return bool(ESRGANArch().detect(state))


def _rrdb(state: StateDict, config: dict[str, Any]) -> Checkpoint:
    from spandrel.architectures.ESRGAN import ESRGANArch

    found = ESRGANArch().load(state)
    # an RRDB for a small factor starts by folding squares of pixels into channels; sides must be whole squares
    return _upsampler("realesrgan-rrdb", found, found.model.shuffle_factor or 1)


def _is_compact(state: StateDict) -> bool:
    return {"body.0.weight", "body.1.weight"} <= state.keys() and not any("fpn" in key for key in state)


def _compact(state: StateDict, config: dict[str, Any]) -> Checkpoint:
    from spandrel.architectures.Compact import CompactArch

    return _upsampler("realesrgan-compact", CompactArch().load(state), 1)


def _upsampler(name: str, found: ImageModelDescriptor[Any], multiple: int) -> Checkpoint:
    if (found.input_channels, found.output_channels) != (3, 3):
        raise WeightsError(
            f"enlarges pictures of {found.input_channels} channels to {found.output_channels}: only RGB is supported."
        )
    contract = NetworkContract(
        name, "upsampler", scale=1 / 255, size_multiple=multiple, upscale=found.scale, precisions=("bf16", "fp32")
    )
    return Checkpoint(found.model, contract)


Recognise = Callable[[StateDict], bool]
Build = Callable[[StateDict, dict[str, Any]], Checkpoint]
ARCHITECTURES: tuple[tuple[Recognise, Build], ...] = (
    (_is_gfpgan, _gfpgan),
    (_is_plain_unet, _plain_unet),
    (_is_retinaface, _retinaface),
    (_is_bisenet, _bisenet),
    (_is_arcface, _arcface),
    (_is_rrdb, _rrdb),
    (_is_compact, _compact),
)
"""Recognised in this order: the first ones have names no other network has."""
