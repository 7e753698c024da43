"""The detector's losses against calculations by hand and against facexlib's priors."""

from __future__ import annotations

import math

import pytest
import torch

from restorer.training.detector_losses import (
    Faces,
    Outputs,
    box_overlap,
    decode_boxes,
    decode_points,
    distillation_loss,
    encode_boxes,
    encode_points,
    focal_loss,
    hard_negatives,
    match_priors,
    multibox_loss,
    priors,
    smooth_l1,
    teacher_targets,
)


def logits(faces: torch.Tensor) -> torch.Tensor:
    """Two-class logits whose difference is ``faces``."""
    return torch.stack((torch.zeros_like(faces), faces), dim=-1)


@pytest.mark.parametrize("size", [(64, 96), (50, 70)])
def test_priors_are_those_of_the_published_detector(size):
    from facexlib.detection.retinaface import generate_config
    from facexlib.detection.retinaface_utils import PriorBox

    theirs = PriorBox(generate_config("mobile0.25"), image_size=size).forward()
    height, width = size
    torch.testing.assert_close(priors(height, width), theirs * torch.tensor([width, height, width, height]))


def test_encoding_by_hand():
    anchor = torch.tensor([[20.0, 30.0, 16.0, 16.0]])
    # Centre 24, 28 lies 4 right and 2 up of the prior's; 32 is twice its side, 8 half of it.
    box = torch.tensor([[8.0, 24.0, 40.0, 32.0]])
    expected = [4 / 1.6, -2 / 1.6, math.log(2) / 0.2, math.log(0.5) / 0.2]
    torch.testing.assert_close(encode_boxes(box, anchor), torch.tensor([expected]))
    points = torch.tensor([[20.0, 30.0, 36.0, 30.0, 20.0, 46.0, 4.0, 30.0, 20.0, 14.0]])
    by_hand = [0.0, 0.0, 10.0, 0.0, 0.0, 10.0, -10.0, 0.0, 0.0, -10.0]
    torch.testing.assert_close(encode_points(points, anchor), torch.tensor([by_hand]))


def test_decoding_inverts_encoding():
    torch.manual_seed(0)
    anchors = priors(64, 64)
    corner = torch.rand(len(anchors), 2) * 64
    boxes = torch.cat((corner, corner + 1 + torch.rand(len(anchors), 2) * 50), dim=1)
    points = torch.rand(len(anchors), 10) * 64
    torch.testing.assert_close(decode_boxes(encode_boxes(boxes, anchors), anchors), boxes, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(decode_points(encode_points(points, anchors), anchors), points, rtol=1e-4, atol=1e-3)


def test_overlap_by_hand():
    first = torch.tensor([[0.0, 0.0, 4.0, 4.0], [10.0, 10.0, 12.0, 12.0]])
    second = torch.tensor([[2.0, 0.0, 6.0, 4.0]])
    torch.testing.assert_close(box_overlap(first, second), torch.tensor([[8 / 24], [0.0]]))


def test_matching_takes_good_overlaps_and_leaves_no_face_out():
    anchors = torch.tensor([[8.0, 8.0, 16.0, 16.0], [10.0, 8.0, 16.0, 16.0], [80.0, 80.0, 16.0, 16.0]])
    # The first face covers priors 0 (exactly) and 1 (overlap 14/18); the second is tiny, but prior 2 is its best.
    boxes = torch.tensor([[0.0, 0.0, 16.0, 16.0], [79.0, 79.0, 81.0, 81.0]])
    assert match_priors(boxes, anchors).tolist() == [0, 0, 1]
    assert match_priors(boxes, anchors, threshold=0.9).tolist() == [0, -1, 1]
    assert match_priors(torch.zeros(0, 4), anchors).tolist() == [-1, -1, -1]


def test_smooth_l1_by_hand():
    values = torch.tensor([-3.0, -0.5, 0.0, 1.0])
    torch.testing.assert_close(smooth_l1(values), torch.tensor([2.5, 0.125, 0.0, 0.5]))
    torch.testing.assert_close(smooth_l1(values, beta=0.25), torch.tensor([2.875, 0.375, 0.0, 0.875]))


def test_hard_negatives_are_the_worst_background_priors():
    loss = torch.tensor([[9.0, 1.0, 3.0, 2.0], [4.0, 1.0, 3.0, 2.0]])
    positive = torch.tensor([[True, False, False, False], [False, False, False, False]])
    chosen = hard_negatives(loss, positive, ratio=2)
    assert chosen.tolist() == [[False, False, True, True], [True, False, True, False]]


def test_focal_loss_by_hand():
    # A score of 3/4 against a target of 1/4: cross-entropy −¼ log ¾ − ¾ log ¼, weight ½ to the power.
    logit, target = torch.tensor([math.log(3)]), torch.tensor([0.25])
    entropy = -0.25 * math.log(0.75) - 0.75 * math.log(0.25)
    torch.testing.assert_close(focal_loss(logit, target, gamma=0), torch.tensor([entropy]))
    torch.testing.assert_close(focal_loss(logit, target, gamma=2), torch.tensor([entropy / 4]))


def test_multibox_loss_by_hand():
    anchors = torch.tensor([[8.0, 8.0, 16.0, 16.0], [40.0, 8.0, 16.0, 16.0], [72.0, 8.0, 16.0, 16.0]])
    face = Faces(torch.tensor([[0.0, 0.0, 16.0, 16.0]]), torch.full((1, 10), 8.0))
    scores = torch.tensor([[math.log(4), math.log(3), -math.log(3)]])
    boxes, points = torch.zeros(1, 3, 4), torch.zeros(1, 3, 10)
    boxes[0, 0, 0], points[0, 0, 0] = 3.0, 0.5  # encoded errors of the only face prior
    boxes[0, 1], points[0, 2] = 100.0, 100.0  # background does not regress
    losses = multibox_loss(Outputs(boxes, logits(scores), points), [face], anchors, ratio=1)
    torch.testing.assert_close(losses.classes, torch.tensor(-math.log(0.8) - math.log(0.25)))
    torch.testing.assert_close(losses.boxes, torch.tensor(2.5))
    torch.testing.assert_close(losses.points, torch.tensor(0.125))


def test_multibox_loss_without_faces_is_finite():
    anchors = priors(32, 32)
    nothing = Faces(torch.zeros(0, 4), torch.zeros(0, 10))
    outputs = Outputs(
        torch.zeros(1, len(anchors), 4), torch.zeros(1, len(anchors), 2), torch.zeros(1, len(anchors), 10)
    )
    losses = multibox_loss(outputs, [nothing], anchors)
    torch.testing.assert_close(losses.classes, torch.tensor(7 * math.log(2)))
    assert losses.boxes == 0
    assert losses.points == 0


def make_teacher() -> tuple[Outputs, torch.Tensor]:
    """Two priors: a large face with a score of 0.9 that the teacher puts 2 px too far right, and background."""
    anchors = torch.tensor([[100.0, 100.0, 128.0, 128.0], [300.0, 100.0, 128.0, 128.0]])
    boxes = encode_boxes(torch.tensor([[[38.0, 36.0, 166.0, 164.0], [0.0, 0.0, 9.0, 9.0]]]), anchors)
    points = encode_points(torch.full((1, 2, 10), 90.0), anchors)
    return Outputs(boxes, logits(torch.tensor([[math.log(9), -4.0]])), points), anchors


def test_a_large_known_face_replaces_the_teachers_answer():
    teacher, anchors = make_teacher()
    known = Faces(torch.tensor([[36.0, 36.0, 164.0, 164.0]]), torch.full((1, 10), 100.0))
    positive = torch.tensor([[True, False]])
    boxes, points = teacher_targets(teacher, [known], anchors, positive=positive, large=96)
    torch.testing.assert_close(boxes[0, 0], torch.zeros(4))
    torch.testing.assert_close(points[0, 0], torch.zeros(10))
    torch.testing.assert_close(boxes[0, 1], teacher.boxes[0, 1])
    boxes, points = teacher_targets(teacher, [known], anchors, positive=positive, large=200)
    torch.testing.assert_close(boxes, teacher.boxes)
    torch.testing.assert_close(points, teacher.points)


def test_distillation_loss_by_hand():
    teacher, anchors = make_teacher()
    nothing = Faces(torch.zeros(0, 4), torch.zeros(0, 10))
    student = Outputs(teacher.boxes + 1.0, logits(torch.tensor([[0.0, -4.0]])), teacher.points - 0.1)
    losses = distillation_loss(student, teacher, [nothing], anchors, gamma=1, beta=0.2)
    # Only the first prior differs: a half against 0.9 has cross-entropy log 2 and weight 0.4.
    torch.testing.assert_close(losses.classes, torch.tensor(0.4 * math.log(2)))
    torch.testing.assert_close(losses.boxes, torch.tensor(4 * 0.9))
    torch.testing.assert_close(losses.points, torch.tensor(10 * 0.01 / 0.4))


def test_a_student_that_agrees_has_no_loss():
    teacher, anchors = make_teacher()
    nothing = Faces(torch.zeros(0, 4), torch.zeros(0, 10))
    losses = distillation_loss(teacher, teacher, [nothing], anchors)
    assert losses.classes < 1e-6
    assert losses.boxes == 0
    assert losses.points == 0
