"""Decoding against facexlib, live, and against hand calculations."""

import numpy as np
import pytest

from restorer.contract import NetworkContract
from restorer.pipeline.detect_views import network_input, view_of
from restorer.pipeline.retinaface_decode import (
    MAX_CANDIDATES,
    Detections,
    decode,
    decode_boxes,
    decode_points,
    join,
    overlaps,
    priors,
    suppress,
)

torch = pytest.importorskip("torch")
upstream = pytest.importorskip("facexlib.detection.retinaface_utils")
CONFIG = {"min_sizes": [[16, 32], [64, 128], [256, 512]], "steps": [8, 16, 32], "clip": False}


@pytest.mark.parametrize(("height", "width"), [(256, 256), (640, 640), (96, 160), (70, 33), (1, 1)])
def test_priors_equal_facexlib(height, width):
    theirs = upstream.PriorBox(CONFIG, image_size=(height, width)).forward().numpy()
    ours = priors(height, width)
    assert ours.shape == (len(theirs), 3)
    np.testing.assert_allclose(ours[:, :2], theirs[:, :2] * [width, height], atol=1e-4)
    np.testing.assert_allclose(np.stack([ours[:, 2]] * 2, 1), theirs[:, 2:] * [width, height], atol=1e-4)


def test_decoding_equals_facexlib():
    rng = np.random.default_rng(1)
    height, width = 128, 224
    prior = upstream.PriorBox(CONFIG, image_size=(height, width)).forward()
    boxes = rng.normal(0, 2, (len(prior), 4)).astype(np.float32)
    points = rng.normal(0, 2, (len(prior), 10)).astype(np.float32)
    theirs = upstream.decode(torch.from_numpy(boxes), prior, [0.1, 0.2]).numpy() * [width, height, width, height]
    np.testing.assert_allclose(decode_boxes(boxes, priors(height, width)), theirs, atol=1e-4, rtol=1e-5)
    theirs = upstream.decode_landm(torch.from_numpy(points), prior, [0.1, 0.2]).numpy() * ([width, height] * 5)
    ours = decode_points(points, priors(height, width)).reshape(-1, 10)
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=1e-5)


def test_whole_network_equals_facexlib():
    """Same random network, same picture: input, decoding and suppression give facexlib's detections, in its order."""
    from facexlib.detection.retinaface import RetinaFace

    torch.manual_seed(3)
    network = RetinaFace("mobile0.25", device="cpu")
    pixels = np.random.default_rng(3).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    contract = NetworkContract("retinaface-mobile0.25", "detector", "bgr", mean=(104.0, 117.0, 123.0))
    with torch.no_grad():
        _make_lively(network)
        batch = network_input(pixels, [view_of((0, 0, 256, 256), 1.0, 256)], contract)
        boxes, classes, points = (output[0].numpy() for output in network(torch.from_numpy(batch)))
        least = float(np.quantile(classes[:, 1], 0.9))
        theirs = network.detect_faces(np.ascontiguousarray(pixels[:, :, ::-1]), conf_threshold=least)
    found = decode(boxes, classes, points, (256, 256), least)
    found = found[np.array([group[0] for group in suppress(found.boxes, found.scores, 0.4)])]
    # facexlib takes scores above the threshold, we those at it, too.
    found = found[found.scores > np.float32(least)]
    assert len(theirs) > 20
    np.testing.assert_allclose(found.scores, theirs[:, 4], atol=1e-6)
    np.testing.assert_allclose(found.boxes, theirs[:, :4], atol=2e-3)
    np.testing.assert_allclose(found.points.reshape(-1, 10), theirs[:, 5:], atol=2e-3)


def _make_lively(network):
    """Set the batch norms' statistics, so that a random network's output depends on the picture."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    network.train()
    network(torch.randn(1, 3, 256, 256) * 60)
    network.eval()


def test_prior_of_the_first_cell_by_hand():
    first = priors(64, 64)
    np.testing.assert_array_equal(first[:3], [[4, 4, 16], [4, 4, 32], [12, 4, 16]])
    assert len(first) == 2 * (8 * 8 + 4 * 4 + 2 * 2)
    # Centre moved by a tenth of the prior per unit, side times e to a fifth of the offset.
    box = decode_boxes(np.array([[10.0, 0.0, 0.0, 5.0]], dtype=np.float32), first[:1])
    np.testing.assert_allclose(box, [[12, 4 - 8 * np.e, 28, 4 + 8 * np.e]], rtol=1e-6)
    points = decode_points(np.array([[10.0, -10.0] + [0.0] * 8], dtype=np.float32), first[:1])
    np.testing.assert_allclose(points[0, :2], [[20, -12], [4, 4]])


def test_decode_keeps_the_best_first_and_bounds_a_network_gone_wild():
    count = len(priors(256, 256))
    scores = np.linspace(0.1, 0.9, count, dtype=np.float32)
    classes = np.stack([1 - scores, scores], 1)
    nothing = np.zeros((count, 4), np.float32), np.zeros((count, 10), np.float32)
    few = decode(nothing[0], classes, nothing[1], (256, 256), 0.85)
    assert (np.diff(few.scores) <= 0).all()
    assert few.scores[-1] >= np.float32(0.85)
    big = len(priors(640, 640))
    huge = np.full((big, 4), 1e9, np.float32)
    wild = decode(huge, np.ones((big, 2), np.float32), np.zeros((big, 10), np.float32), (640, 640), 0.5)
    assert len(wild) == MAX_CANDIDATES
    assert np.isfinite(wild.boxes).all()


def test_suppression_equals_torchvision():
    ops = pytest.importorskip("torchvision.ops")
    rng = np.random.default_rng(5)
    corner = rng.uniform(0, 200, (300, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 80, (300, 2))], 1).astype(np.float32)
    scores = rng.permutation(300).astype(np.float32) / 300
    groups = suppress(boxes, scores, 0.4)
    theirs = ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.4).tolist()
    assert [int(group[0]) for group in groups] == theirs
    assert sorted(np.concatenate(groups).tolist()) == list(range(300))


def test_overlaps_by_hand():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [2, 2, 4, 4], [20, 20, 30, 30], [0, 0, 0, 0]], dtype=np.float32)
    union, smaller = overlaps(boxes[0], boxes)
    np.testing.assert_allclose(union, [1, 1 / 3, 0.04, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(smaller, [1, 0.5, 1, 0, 0], rtol=1e-6)


def test_equal_scores_keep_their_order():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]], dtype=np.float32)
    groups = suppress(boxes, np.ones(3, np.float32), 0.4)
    assert [group.tolist() for group in groups] == [[0, 1], [2]]


def test_join_and_nothing():
    empty = join([])
    assert len(empty) == 0
    assert empty.sizes.shape == (0,)
    assert suppress(empty.boxes, empty.scores, 0.4) == []
    one = Detections(np.array([[0, 0, 4, 8]], np.float32), np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32))
    both = join([one, empty, one])
    assert len(both) == 2
    np.testing.assert_array_equal(both.sizes, [8, 8])
    np.testing.assert_array_equal(both.centres, [[2, 4], [2, 4]])
