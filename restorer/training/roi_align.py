"""ROI align: parts of images cut out at a fixed size, with gradients, from torch's own grid sampling.

Source: He et al., "Mask R-CNN", ICCV 2017, section 3. The numbers are those of ``torchvision.ops.roi_align`` with a
fixed sampling ratio; training must run where only torch is at hand.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own idiom)


def roi_align(images: Tensor, boxes: Tensor, size: int, samples: int = 2) -> Tensor:
    """Cut boxes out of images.

    Each of size×size cells is the mean of samples×samples points in it, read bilinearly. A point up to one pixel
    outside of the image takes the border's value, one further out is 0, as in torchvision.

    Args:
        images: N×C×H×W.
        boxes: N×K×4, x0, y0, x1, y1 in pixels whose centres are at integers; sides count as at least 1.
        size: Side of the result in cells.
        samples: Points per cell along each side.

    Returns:
        N×K×C×size×size.
    """
    count, parts = boxes.shape[:2]
    channels, height, width = images.shape[1:]
    boxes = boxes.float()
    corner, side = boxes[..., :2], (boxes[..., 2:] - boxes[..., :2]).clamp(min=1)
    points = size * samples
    place = (torch.arange(points, device=images.device) + 0.5) / points
    x = corner[..., 0:1] + side[..., 0:1] * place  # N×K×points
    y = corner[..., 1:2] + side[..., 1:2] * place
    grid = torch.stack(
        [
            (2 * x / max(width - 1, 1) - 1)[:, :, None, :].expand(-1, -1, points, -1),
            (2 * y / max(height - 1, 1) - 1)[:, :, :, None].expand(-1, -1, -1, points),
        ],
        dim=-1,
    )  # align_corners: −1 and 1 are the centres of the first and the last pixel
    read = F.grid_sample(
        images, grid.flatten(1, 2).to(images.dtype), mode="bilinear", padding_mode="border", align_corners=True
    )
    inside = ((y >= -1) & (y <= height))[:, :, :, None] & ((x >= -1) & (x <= width))[:, :, None, :]
    read = read.reshape(count, channels, parts, points, points) * inside[:, None]
    cells = read.reshape(count, channels * parts, points, points)
    cells = F.avg_pool2d(cells, samples)
    return cells.reshape(count, channels, parts, size, size).transpose(1, 2)
