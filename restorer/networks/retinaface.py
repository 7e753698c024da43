"""RetinaFace on a MobileNet of a quarter of the width: the small detector.

Source: Deng et al., "RetinaFace: Single-Shot Multi-Level Face Localisation in the Wild", CVPR 2020; the backbone from
Howard et al., "MobileNets", 2017; the context modules from Najibi et al., "SSH", ICCV 2017. Parameter names and shapes
are those of the published checkpoint ``detection_mobilenet0.25_Final.pth``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own idiom)

LEAK = 0.1
"""Slope of the activations below zero, in networks as narrow as this one."""
LEVELS = 64
"""Channels of the pyramid."""
PRIORS = 2
"""Boxes at every place."""


def _convolution(inside: int, outside: int, side: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inside, outside, side, stride, side // 2, bias=False), nn.BatchNorm2d(outside)]


def _active(inside: int, outside: int, side: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(*_convolution(inside, outside, side, stride), nn.LeakyReLU(LEAK, inplace=True))


def _separable(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    """Filter each channel, then mix them (MobileNets, section 3.1)."""
    return nn.Sequential(
        nn.Conv2d(inside, inside, 3, stride, 1, groups=inside, bias=False),
        nn.BatchNorm2d(inside),
        nn.LeakyReLU(LEAK, inplace=True),
        *_active(inside, outside, 1),
    )


class Backbone(nn.Module):
    """MobileNet's layers in three stages, which end at an eighth, a sixteenth and a thirty-second of the side."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(
            _active(3, 8, 3, 2),
            _separable(8, 16),
            _separable(16, 32, 2),
            _separable(32, 32),
            _separable(32, 64, 2),
            _separable(64, 64),
        )
        self.stage2 = nn.Sequential(_separable(64, 128, 2), *(_separable(128, 128) for _ in range(5)))
        self.stage3 = nn.Sequential(_separable(128, 256, 2), _separable(256, 256))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the features after each stage, finest first."""
        fine = self.stage1(image)
        middle = self.stage2(fine)
        return {"1": fine, "2": middle, "3": self.stage3(middle)}


class Pyramid(nn.Module):
    """Lets coarse features speak at the finer levels (feature pyramid)."""

    def __init__(self) -> None:
        super().__init__()
        self.output1, self.output2, self.output3 = (_active(width, LEVELS, 1) for width in (64, 128, 256))
        self.merge1, self.merge2 = _active(LEVELS, LEVELS, 3), _active(LEVELS, LEVELS, 3)

    def forward(self, stages: list[Tensor]) -> list[Tensor]:
        """Turn three stages into three levels of one width, finest first."""
        fine, middle, coarse = self.output1(stages[0]), self.output2(stages[1]), self.output3(stages[2])
        middle = self.merge2(middle + F.interpolate(coarse, size=middle.shape[2:], mode="nearest"))
        fine = self.merge1(fine + F.interpolate(middle, size=fine.shape[2:], mode="nearest"))
        return [fine, middle, coarse]


class Context(nn.Module):
    """Looks at 3, 5 and 7 pixels' surroundings at once (SSH, section 3.2)."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter = LEVELS // 2, LEVELS // 4
        self.conv3X3 = nn.Sequential(*_convolution(LEVELS, half, 3))  # the checkpoint's spelling
        self.conv5X5_1 = _active(LEVELS, quarter, 3)
        self.conv5X5_2 = nn.Sequential(*_convolution(quarter, quarter, 3))
        self.conv7X7_2 = _active(quarter, quarter, 3)
        self.conv7x7_3 = nn.Sequential(*_convolution(quarter, quarter, 3))

    def forward(self, level: Tensor) -> Tensor:
        """Return features of the same shape."""
        wider = self.conv5X5_1(level)
        widest = self.conv7x7_3(self.conv7X7_2(wider))
        return F.relu(torch.cat([self.conv3X3(level), self.conv5X5_2(wider), widest], dim=1))


class Head(nn.Module):
    """Answers of one kind at every prior of a level."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.numbers = numbers
        self.conv1x1 = nn.Conv2d(LEVELS, PRIORS * numbers, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return N×(H·W·priors)×numbers."""
        answers: Tensor = self.conv1x1(features).permute(0, 2, 3, 1)
        return answers.reshape(len(features), -1, self.numbers)


class RetinaFaceMobileNet(nn.Module):
    """The whole detector: BGR N×3×H×W minus the training's mean in, boxes, classes and points of A priors out."""

    def __init__(self, *, phase: str = "test") -> None:
        """Build the network; ``phase`` ``train`` gives logits in place of probabilities."""
        super().__init__()
        self.phase = phase
        self.body, self.fpn = Backbone(), Pyramid()
        self.ssh1, self.ssh2, self.ssh3 = Context(), Context(), Context()
        self.ClassHead = nn.ModuleList(Head(2) for _ in range(3))
        self.BboxHead = nn.ModuleList(Head(4) for _ in range(3))
        self.LandmarkHead = nn.ModuleList(Head(10) for _ in range(3))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return box regressions N×A×4, class probabilities N×A×2 and point regressions N×A×10."""
        levels = self.fpn(list(self.body(image).values()))
        contexts = [look(level) for look, level in zip((self.ssh1, self.ssh2, self.ssh3), levels, strict=True)]
        boxes, classes, points = (
            torch.cat([head(context) for head, context in zip(heads, contexts, strict=True)], dim=1)
            for heads in (self.BboxHead, self.ClassHead, self.LandmarkHead)
        )
        return boxes, classes if self.phase == "train" else F.softmax(classes, dim=-1), points
