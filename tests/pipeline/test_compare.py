"""Comparisons show both pictures whole, at one size, with their labels outside of them."""

import numpy as np
import pytest

from restorer.pipeline.compare import compare, face_pair


def _find(page: np.ndarray, colour: tuple[int, int, int]) -> tuple[slice, slice]:
    rows, columns = np.where((page == colour).all(-1))
    return slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)


RED, BLUE = (200, 0, 0), (0, 0, 200)


@pytest.mark.parametrize("size", [(60, 80), (300, 100), (7, 9), (1, 1)])
def test_both_pictures_are_whole_and_of_one_size(size: tuple[int, int]) -> None:
    before = np.full((*size, 3), RED, np.uint8)
    after = np.full((size[0] * 2, size[1] * 2, 3), BLUE, np.uint8)
    page = compare(before, after)
    assert page.dtype == np.uint8
    left, right = _find(page, RED), _find(page, BLUE)
    for rows, columns in (left, right):
        assert (rows.stop - rows.start, columns.stop - columns.start) == after.shape[:2]
    assert (page[left] == RED).all() and (page[right] == BLUE).all()  # nothing is drawn over them
    assert left[0] == right[0] and left[1].stop < right[1].start


def test_labels_and_caption_stand_above_and_below() -> None:
    picture = np.full((120, 200, 3), RED, np.uint8)
    plain = compare(picture, picture, labels=("", ""))
    labelled = compare(picture, picture)
    rows, _ = _find(labelled, RED)
    assert (plain[: rows.start] == 255).all()
    assert labelled[: rows.start].min() < 100 and (labelled[rows.stop :] == 255).all()
    captioned = compare(picture, picture, caption="A long line that needs to be broken " * 4)
    assert captioned[rows.stop :].min() < 150 and captioned.shape[1] == labelled.shape[1]
    assert (captioned[:, :3] == 255).all() and (captioned[:, -3:] == 255).all()  # no line is cut


def test_long_sides_are_limited() -> None:
    picture = np.full((40, 600, 3), RED, np.uint8)
    page = compare(np.full((20, 300, 3), BLUE, np.uint8), picture, max_side=150)
    rows, columns = _find(page, RED)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (10, 150)


def test_16_bits_become_8() -> None:
    values = np.arange(256, dtype=np.uint16).reshape(1, 256, 1).repeat(3, 2).repeat(8, 0) * 257
    page = compare(values, values)
    assert any(np.array_equal(row[i : i + 256, 0], np.arange(256)) for row in page for i in range(4, 20))


def test_face_pair() -> None:
    crop = np.full((256, 256, 3), 10.4, np.float32)
    restored = np.full((512, 512, 3), 300.0, np.float32)
    pair = face_pair(crop, restored)
    assert pair.shape == (512, 1024, 3) and pair.dtype == np.uint8
    assert (pair[:, :512] == 10).all() and (pair[:, 512:] == 255).all()
