"""Losses of the face detector: anchors, encoding, matching, multibox and distillation.

RetinaFace (Deng et al., CVPR 2020) regresses a box and five points from every anchor ("prior") of a dense grid and
classifies it as face or background. All coordinates here are pixels of the network's input, measured from its upper
left corner as the published detectors do; boxes are x0, y0, x1, y1, priors are centre x, centre y, width, height.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

STEPS: tuple[int, ...] = (8, 16, 32)
"""Pixels between neighbouring priors, per level of the feature pyramid."""
PRIOR_SIDES: tuple[tuple[int, int], ...] = ((16, 32), (64, 128), (256, 512))
"""Sides of the two square priors at each position, in pixels, per level."""
VARIANCES: tuple[float, float] = (0.1, 0.2)
"""Scale of encoded positions and of encoded log sizes (SSD, Liu et al. 2016, reference code)."""


def priors(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Lay the grid of priors over an image.

    Args:
        height: Height of the network's input in pixels.
        width: Width of the network's input in pixels.
        device: Where the result shall live.

    Returns:
        (K, 4) centre x, centre y, width, height in pixels, in the order of the network's outputs: level, row,
        column, side.
    """
    levels = []
    for step, sides in zip(STEPS, PRIOR_SIDES, strict=True):
        rows, columns = -(-height // step), -(-width // step)
        y = (torch.arange(rows, device=device, dtype=torch.float32) + 0.5) * step
        x = (torch.arange(columns, device=device, dtype=torch.float32) + 0.5) * step
        side = torch.tensor(sides, device=device, dtype=torch.float32)
        grid_y, grid_x, grid_side = torch.meshgrid(y, x, side, indexing="ij")
        levels.append(torch.stack((grid_x, grid_y, grid_side, grid_side), dim=-1).reshape(-1, 4))
    return torch.cat(levels)


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Encode boxes (..., 4) relative to priors (..., 4): offsets of the centre and logarithms of the sides."""
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1e-3)
    offset = (centre - anchors[..., :2]) / (VARIANCES[0] * anchors[..., 2:])
    return torch.cat((offset, torch.log(sides / anchors[..., 2:]) / VARIANCES[1]), dim=-1)


def decode_boxes(encoded: Tensor, anchors: Tensor) -> Tensor:
    """Invert :func:`encode_boxes`."""
    centre = anchors[..., :2] + encoded[..., :2] * VARIANCES[0] * anchors[..., 2:]
    half = anchors[..., 2:] * torch.exp(encoded[..., 2:] * VARIANCES[1]) / 2
    return torch.cat((centre - half, centre + half), dim=-1)


def encode_points(points: Tensor, anchors: Tensor) -> Tensor:
    """Encode five points (..., 10) as x, y pairs relative to priors (..., 4)."""
    pairs = points.reshape(*points.shape[:-1], 5, 2)
    offset = (pairs - anchors[..., None, :2]) / (VARIANCES[0] * anchors[..., None, 2:])
    return offset.flatten(-2)


def decode_points(encoded: Tensor, anchors: Tensor) -> Tensor:
    """Invert :func:`encode_points`."""
    pairs = encoded.reshape(*encoded.shape[:-1], 5, 2)
    return (anchors[..., None, :2] + pairs * VARIANCES[0] * anchors[..., None, 2:]).flatten(-2)


def box_overlap(first: Tensor, second: Tensor) -> Tensor:
    """Return intersection over union of every pair of (N, 4) and (M, 4) boxes as (N, M)."""
    upper_left = torch.maximum(first[:, None, :2], second[None, :, :2])
    lower_right = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    intersection = (lower_right - upper_left).clamp(min=0).prod(dim=-1)
    areas = (first[:, 2:] - first[:, :2]).prod(dim=-1)[:, None] + (second[:, 2:] - second[:, :2]).prod(dim=-1)[None]
    return intersection / (areas - intersection).clamp(min=1e-6)


def match_priors(boxes: Tensor, anchors: Tensor, threshold: float = 0.35) -> Tensor:
    """Assign faces to priors as SSD does.

    A prior takes the face it overlaps most, if by at least ``threshold``; besides, every face keeps the prior that
    overlaps it most, however little.

    Args:
        boxes: (N, 4) boxes of the faces.
        anchors: (K, 4) priors.
        threshold: Least intersection over union (0.35 in the RetinaFace reference code).

    Returns:
        (K,) index of the assigned face, −1 for background.
    """
    if len(boxes) == 0:
        return torch.full((len(anchors),), -1, dtype=torch.long, device=anchors.device)
    corners = torch.cat((anchors[:, :2] - anchors[:, 2:] / 2, anchors[:, :2] + anchors[:, 2:] / 2), dim=1)
    overlap = box_overlap(boxes, corners)
    best, face = overlap.max(dim=0)
    assigned = torch.where(best >= threshold, face, torch.full_like(face, -1))
    assigned[overlap.argmax(dim=1)] = torch.arange(len(boxes), device=anchors.device)
    return assigned


def smooth_l1(difference: Tensor, beta: float = 1.0) -> Tensor:
    """Return x² / 2β where |x| < β and |x| − β/2 beyond, element by element."""
    size = difference.abs()
    return torch.where(size < beta, size.square() / (2 * beta), size - beta / 2)


def hard_negatives(loss: Tensor, positive: Tensor, ratio: float = 7.0) -> Tensor:
    """Choose the background priors with the largest loss, ``ratio`` times as many as there are positives.

    Args:
        loss: (N, K) classification loss of each prior.
        positive: (N, K) bool, priors assigned to faces.
        ratio: Negatives per positive within an image; an image without faces gives ``ratio`` negatives.

    Returns:
        (N, K) bool mask of the chosen negatives.
    """
    count = (positive.sum(dim=1, keepdim=True).clamp(min=1) * ratio).long()
    order = loss.detach().masked_fill(positive, float("-inf")).argsort(dim=1, descending=True)
    rank = order.argsort(dim=1)
    return (rank < count) & ~positive


def focal_loss(logits: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    """Return cross-entropy weighted with the distance to a soft target, |σ(x) − y|^γ · CE (Li et al. 2020).

    Args:
        logits: Face logit minus background logit, any shape.
        target: Probability of a face in 0..1, same shape.
        gamma: 0 is plain cross-entropy; larger values make settled priors count less.
    """
    weight = (torch.sigmoid(logits.detach()) - target).abs().pow(gamma)
    return weight * F.binary_cross_entropy_with_logits(logits, target, reduction="none")


@dataclass(frozen=True)
class Outputs:
    """What the network gives for N images with K priors each."""

    boxes: Tensor
    """(N, K, 4) encoded boxes."""
    classes: Tensor
    """(N, K, 2) logits of background and face."""
    points: Tensor
    """(N, K, 10) encoded points."""

    @property
    def logits(self) -> Tensor:
        """(N, K) face logit minus background logit: its sigmoid is the score."""
        return self.classes[..., 1] - self.classes[..., 0]


@dataclass(frozen=True)
class Losses:
    """Scalars, before weighting."""

    classes: Tensor
    boxes: Tensor
    points: Tensor
    hints: Tensor = field(default_factory=lambda: torch.zeros(()))
    """Difference of feature maps, see :func:`hint_loss`."""


@dataclass(frozen=True)
class Faces:
    """Known faces of one image."""

    boxes: Tensor
    """(N, 4) x0, y0, x1, y1 in pixels."""
    points: Tensor
    """(N, 10) five points as x, y pairs in pixels."""


def multibox_loss(
    outputs: Outputs,
    faces: Sequence[Faces],
    anchors: Tensor,
    *,
    ratio: float = 7.0,
    ignored: Tensor | None = None,
) -> Losses:
    """Score outputs against labelled faces: RetinaFace's loss with mined negatives.

    Args:
        outputs: The network's outputs for N images.
        faces: Labels of the N images.
        anchors: (K, 4) priors.
        ratio: Background priors per face prior that count (see :func:`hard_negatives`).
        ignored: (N, K) bool, priors that must not count as background, because a face may be there that has no label.

    Returns:
        Cross-entropy, smooth L1 of boxes and of points, each summed and divided by the number of face priors.
    """
    assigned = torch.stack([match_priors(image.boxes, anchors) for image in faces])
    positive = assigned >= 0
    entropy = F.binary_cross_entropy_with_logits(outputs.logits, positive.float(), reduction="none")
    if ignored is not None:
        entropy = entropy.masked_fill(ignored & ~positive, 0.0)
    counted = positive | hard_negatives(entropy, positive, ratio)
    total = positive.sum().clamp(min=1)
    boxes, points = outputs.boxes.new_zeros(()), outputs.points.new_zeros(())
    for index, image in enumerate(faces):
        where = positive[index]
        face, anchor = assigned[index][where], anchors[where]
        boxes = boxes + smooth_l1(outputs.boxes[index][where] - encode_boxes(image.boxes[face], anchor)).sum()
        points = points + smooth_l1(outputs.points[index][where] - encode_points(image.points[face], anchor)).sum()
    return Losses((entropy * counted).sum() / total, boxes / total, points / total)


def teacher_targets(
    teacher: Outputs, faces: Sequence[Faces], anchors: Tensor, *, positive: Tensor, large: float
) -> tuple[Tensor, Tensor]:
    """Take regression targets from the teacher, and from known faces where these are large.

    The teacher's points are good up to a box of about 150 px and poor beyond, so a large face is labelled at a
    smaller scale beforehand and its label replaces the teacher's answer here.

    Args:
        teacher: The teacher's outputs for N images.
        faces: Known faces of the N images; those whose shorter side is at most ``large`` are not used.
        anchors: (K, 4) priors.
        positive: (N, K) bool, priors that will be trained.
        large: Shorter side of a box in pixels above which the known face is preferred.

    Returns:
        Encoded boxes (N, K, 4) and points (N, K, 10).
    """
    boxes, points = teacher.boxes.clone(), teacher.points.clone()
    for index, image in enumerate(faces):
        big = (image.boxes[:, 2:] - image.boxes[:, :2]).amin(dim=1) > large
        where = positive[index].nonzero()[:, 0]
        if not bool(big.any()) or len(where) == 0:
            continue
        overlap = box_overlap(decode_boxes(teacher.boxes[index][where], anchors[where]), image.boxes[big])
        best, face = overlap.max(dim=1)
        where, face = where[best > 0.5], face[best > 0.5]
        boxes[index, where] = encode_boxes(image.boxes[big][face], anchors[where])
        points[index, where] = encode_points(image.points[big][face], anchors[where])
    return boxes, points


def hint_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Compare feature maps of two networks of one layout (hints: Romero et al., FitNets, 2015).

    Args:
        student: Feature maps of the student, N×C×H×W each.
        teacher: The teacher's maps of the same shapes.

    Returns:
        Mean over the maps of the mean squared difference relative to the variance of the teacher's map: 1 where the
        student knows no more than the mean.
    """
    terms = [(ours - theirs).square().mean() / theirs.var() for ours, theirs in zip(student, teacher, strict=True)]
    return torch.stack(terms).mean()


def distillation_loss(
    student: Outputs,
    teacher: Outputs,
    faces: Sequence[Faces],
    anchors: Tensor,
    *,
    gamma: float = 1.0,
    beta: float = 0.2,
    large: float = 96.0,
) -> Losses:
    """Score a student against a teacher on every prior.

    Args:
        student: The student's outputs for N images.
        teacher: The teacher's outputs for the same images before they were degraded.
        faces: Known faces, see :func:`teacher_targets`.
        anchors: (K, 4) priors.
        gamma: Exponent of :func:`focal_loss`.
        beta: Where smooth L1 turns linear, in encoded units; below 1 it keeps pulling at small errors.
        large: See :func:`teacher_targets`.

    Returns:
        Focal loss over all priors; smooth L1 of boxes and points over the priors whose teacher's score is above
        one half; each divided by the number of those priors.
    """
    score = torch.sigmoid(teacher.logits)
    positive = score > 0.5
    total = positive.sum().clamp(min=1)
    boxes, points = teacher_targets(teacher, faces, anchors, positive=positive, large=large)
    return Losses(
        focal_loss(student.logits, score, gamma).sum() / total,
        smooth_l1((student.boxes - boxes)[positive], beta).sum() / total,
        smooth_l1((student.points - points)[positive], beta).sum() / total,
    )
