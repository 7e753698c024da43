"""ArcFace with eighteen layers on grey faces, GFP-GAN's judge of identity; parameter names are the published file's.

Source: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019, section 3.1 and 3.2.2
(the improved residual unit: normalise, convolve, normalise, PReLU, convolve, normalise; and the output: normalise, drop
out, one linear layer, normalise).
"""

from __future__ import annotations

from torch import Tensor, nn

SIDE = 128
"""Side of the face in pixels."""
LENGTH = 512
"""Numbers that describe a face."""


class ImprovedUnit(nn.Module):
    """Residual unit; all its channels share one slope."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, features: Tensor) -> Tensor:
        """Map N×in×H×W to N×out×H/stride×W/stride."""
        passed = features if self.downsample is None else self.downsample(features)
        inner = self.prelu(self.bn1(self.conv1(self.bn0(features))))
        out: Tensor = self.prelu(self.bn2(self.conv2(inner)) + passed)
        return out


def _level(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(ImprovedUnit(in_channels, out_channels, stride), ImprovedUnit(out_channels, out_channels, 1))


class ArcFace18(nn.Module):
    """Describes grey faces, N×1×128×128 in [−1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU()
        self.maxpool = nn.MaxPool2d(2)
        self.layer1 = _level(64, 64, 1)
        self.layer2 = _level(64, 128, 2)
        self.layer3 = _level(128, 256, 2)
        self.layer4 = _level(256, 512, 2)
        self.bn4 = nn.BatchNorm2d(512)
        self.dropout = nn.Dropout()
        self.fc5 = nn.Linear(512 * (SIDE // 16) ** 2, LENGTH)
        self.bn5 = nn.BatchNorm1d(LENGTH)

    def forward(self, face: Tensor) -> Tensor:
        """Return N×512, not of unit length."""
        features = self.maxpool(self.prelu(self.bn1(self.conv1(face))))
        for level in (self.layer1, self.layer2, self.layer3, self.layer4):
            features = level(features)
        features = self.dropout(self.bn4(features))
        out: Tensor = self.bn5(self.fc5(features.flatten(1)))
        return out
