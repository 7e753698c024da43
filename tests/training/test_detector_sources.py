"""The detector's photographs: archives, and labels from a teacher whose answers are known."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import torch
from PIL import Image

from restorer.training.detector_losses import Outputs, encode_boxes, encode_points, priors
from restorer.training.detector_sources import (
    Source,
    find_faces,
    halvings,
    label_faces,
    load_sources,
    mirror_rows,
    network_input,
    read_archive,
    suppress,
)
from restorer.training.detector_turned import SIDE, TIMES, turned_sources

CPU = torch.device("cpu")
SIZE = 120
BOX = np.array([30, 24, 78, 84], np.float32)
POINTS = np.array([42, 46, 64, 44, 52, 58, 44, 70, 63, 69], np.float32)


def bright_face() -> np.ndarray:
    """A black photograph whose brightest pixels fill ``BOX``, so that a fake network can find it at any scale."""
    pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
    pixels[24:84, 30:78] = 255
    pixels[24:84, 30:54, 2] = 0  # the left half is yellow: a mirrored face is told from an upright one
    return pixels


def fake_network(batch: torch.Tensor) -> Outputs:
    """Answer with the bright rectangle on the prior that lies nearest its centre, with a score of 0.99."""
    height, width = batch.shape[2:]
    anchors = priors(height, width)
    red, blue = batch[0, 2] + 123, batch[0, 0] + 104
    rows, columns = (torch.nonzero((red > 127).any(dim=axis))[:, 0] for axis in (1, 0))
    left, right = float(columns[0]), float(columns[-1]) + 1
    top, bottom = float(rows[0]), float(rows[-1]) + 1
    scale = (bottom - top) / 60
    points = torch.from_numpy(POINTS).reshape(5, 2).clone()
    if blue[int((top + bottom) / 2), int(left) + 2] > 127:  # mirrored
        points[:, 0] = 108 - points[:, 0]
        points = points[[1, 0, 2, 4, 3]]
    points = (points - torch.tensor([30.0, 24.0])) * scale + torch.tensor([left, top])
    box = torch.tensor([left, top, right, bottom])
    nearest = int(((anchors[:, :2] - (box[:2] + box[2:]) / 2) ** 2).sum(dim=1).argmin())
    classes = torch.zeros(1, len(anchors), 2)
    classes[..., 1] = -9.0
    classes[0, nearest, 1] = float(np.log(99))
    boxes = encode_boxes(box.expand(len(anchors), 4), anchors)[None]
    return Outputs(boxes, classes, encode_points(points.flatten().expand(len(anchors), 10), anchors)[None])


def test_the_networks_input_is_bgr_minus_mean():
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[0, 0] = (200, 100, 50)
    batch = network_input([pixels, pixels], CPU)
    assert batch.shape == (2, 3, 32, 32)
    assert batch[1, :, 0, 0].tolist() == [50 - 104, 100 - 117, 200 - 123]


def test_halvings_average_pixels():
    pixels = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    levels = halvings(pixels, smallest=2)
    assert [level.shape[:2] for level in levels] == [(8, 8), (4, 4), (2, 2)]
    np.testing.assert_allclose(levels[1][0, 0], pixels[:2, :2].mean(axis=(0, 1)), atol=0.51)


def test_finding_returns_pixels_of_the_image():
    rows = find_faces(fake_network, bright_face(), CPU)
    assert rows.shape == (1, 15)
    np.testing.assert_allclose(rows[0], [0.99, *BOX, *POINTS], rtol=1e-4)


def test_suppression_keeps_the_best_of_a_cluster():
    rows = np.zeros((3, 15), np.float32)
    rows[:, 0] = 0.9, 0.8, 0.7
    rows[:, 1:5] = [[0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 40, 40]]
    np.testing.assert_array_equal(suppress(rows), rows[[0, 2]])
    assert len(suppress(rows[:0])) == 0


def test_mirroring_twice_changes_nothing():
    row = np.array([[0.9, *BOX, *POINTS]], np.float32)
    mirrored = mirror_rows(row, SIZE)
    np.testing.assert_allclose(mirrored[0, 1:5], [42, 24, 90, 84])
    np.testing.assert_allclose(mirrored[0, 5:9], [56, 44, 78, 46])
    np.testing.assert_allclose(mirror_rows(mirrored, SIZE), row)


def test_labels_of_several_scales_agree_with_the_truth():
    rows = label_faces(fake_network, bright_face(), CPU, sides=(120, 90, 60))
    assert rows.shape == (1, 15)
    np.testing.assert_allclose(rows[0, 1:], [*BOX, *POINTS], atol=1.0)


def test_sources_are_read_labelled_and_remembered(tmp_path):
    archive, cache, lines = tmp_path / "photos.zip", tmp_path / "labels.npz", []
    content = io.BytesIO()
    Image.fromarray(bright_face()).save(content, "PNG")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("b.png", content.getvalue())
        file.writestr("manifest.json", "[]")
    np.testing.assert_array_equal(next(read_archive(archive)), bright_face())

    (source,) = load_sources([archive], fake_network, CPU, cache, lines.append)
    np.testing.assert_allclose(source.boxes, [BOX], atol=1.0)
    np.testing.assert_allclose(source.points, POINTS.reshape(1, 5, 2), atol=1.0)

    def silent(batch: torch.Tensor) -> Outputs:
        raise AssertionError("the labels are known already")

    (again,) = load_sources([archive], silent, CPU, cache, lines.append)
    np.testing.assert_array_equal(again.points, source.points)
    assert lines[-1] == "1 photographs with 1 faces"


def test_every_face_is_turned_aside_and_labelled_once(tmp_path):
    face = bright_face()
    sources = [Source((face,), np.array([BOX], np.float32), POINTS.reshape(1, 5, 2).astype(np.float32))]
    calls = []

    def teacher(batch: torch.Tensor) -> Outputs:
        calls.append(batch.shape)
        return fake_network(batch)

    aside = turned_sources(sources, teacher, CPU, tmp_path / "aside.npz", lambda line: None)
    assert len(aside) == TIMES and all(source.levels[0].shape == (SIDE, SIDE, 3) for source in aside)
    assert (aside[0].levels[0] != aside[1].levels[0]).any()
    assert calls
    calls.clear()
    again = turned_sources(sources, teacher, CPU, tmp_path / "aside.npz", lambda line: None)
    assert not calls
    for mine, theirs in zip(aside, again, strict=True):
        np.testing.assert_array_equal(mine.levels[0], theirs.levels[0])
        np.testing.assert_array_equal(mine.boxes, theirs.boxes)


def test_photographs_without_faces_give_none_aside(tmp_path):
    nobody = Source((bright_face(),), np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32))
    assert turned_sources([nobody], fake_network, CPU, tmp_path / "aside.npz", lambda line: None) == []
