import cv2
import numpy as np
import pytest

from restorer.resample import (
    compose,
    enlarged_size,
    invert,
    magnification,
    resize,
    scaling,
    shrink_for_warp,
    square_bounds,
    to_dtype,
    transform,
    warp,
    warp_mask,
)

from .pipeline.scenes import waves, waves_at

TURN = np.array([[0.6, -0.8, 30.25], [0.8, 0.6, -12.5]])


def test_scaling_keeps_the_picture_edges():
    # A picture of 10 pixels reaches from -0.5 to 9.5; enlarged three times from -0.5 to 29.5.
    np.testing.assert_allclose(transform(scaling(3, 3), np.array([[-0.5, -0.5], [9.5, 9.5]])), [[-0.5] * 2, [29.5] * 2])


def test_compose_and_invert():
    points = np.random.default_rng(0).normal(size=(7, 2))
    both = compose(scaling(2, 3), TURN)
    np.testing.assert_allclose(transform(both, points), transform(scaling(2, 3), transform(TURN, points)))
    np.testing.assert_allclose(transform(invert(both), transform(both, points)), points)
    assert magnification(TURN) == pytest.approx(1) and magnification(both) == pytest.approx(6**0.5)


def test_square_bounds():
    assert square_bounds(np.array([[1.0, 0, 10], [0, 1, 20]]), 4) == (9, 19, 15, 25)


@pytest.mark.parametrize(
    ("size", "scale", "expected"),
    [((10, 7), 1.5, (15, 11)), ((3, 5), 0.5, (2, 3)), ((1, 1), 0.01, (1, 1)), ((100, 50), 1, (100, 50))],
)
def test_sizes_are_rounded_to_nearest(size, scale, expected):
    assert enlarged_size(*size, scale) == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(40, 30), (40, 30, 3), (40, 30, 1)])
@pytest.mark.parametrize("size", [(60, 80), (33, 44), (15, 20), (45, 20), (30, 40)])
def test_resize_keeps_dtype_axes_and_a_constant(dtype, shape, size):
    value = {np.uint8: 201, np.uint16: 51657, np.float32: 77.5}[dtype]
    result = resize(np.full(shape, value, dtype), *size)
    assert result.dtype == dtype and result.shape == (size[1], size[0], *shape[2:])
    np.testing.assert_allclose(result, value, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.4, 0.75, 1.5, 2.0, 3.7])
def test_resize_is_pixel_centre_exact(scale):
    width, height = enlarged_size(120, 90, scale)
    frequency = 0.15 * min(1, scale)
    picture = waves(120, 90, frequency).astype(np.float32)
    x, y = np.meshgrid((np.arange(width) + 0.5) * 120 / width - 0.5, (np.arange(height) + 0.5) * 90 / height - 0.5)
    truth = waves_at(x, y, frequency)
    inner = np.s_[int(8 * scale) + 1 : -int(8 * scale) - 1, int(8 * scale) + 1 : -int(8 * scale) - 1]
    assert np.abs(resize(picture, width, height) - truth)[inner].max() < 1.5


def test_rounding_is_to_nearest_and_clipped():
    values = np.array([-3.0, 0.49, 0.51, 254.6, 255.4, 300.0], np.float32)
    assert to_dtype(values, np.dtype(np.uint8)).tolist() == [0, 0, 1, 255, 255, 255]
    assert to_dtype(values * 257, np.dtype(np.uint16)).max() == 65535


@pytest.mark.parametrize("scale", [0.93, 1.0, 1.3, 2.6])
def test_warp_hits_the_transformed_places(scale):
    source = waves(150, 140, 0.2).astype(np.float32)
    matrix = compose(TURN, scaling(1 / scale, 1 / scale)) + np.array([[0, 0, 40], [0, 0, 40]])
    result = warp(source, matrix, 60, 50)
    y, x = np.mgrid[:50, :60]
    places = transform(matrix, np.stack([x.ravel(), y.ravel()], axis=1)).reshape(50, 60, 2)
    inside = ((places > 5) & (places < [144, 134])).all(axis=-1)
    assert inside.mean() > 0.5
    difference = np.abs(result - waves_at(places[..., 0], places[..., 1], 0.2))[inside]
    assert difference.max() < 1 and difference.mean() < 0.15


@pytest.mark.parametrize("offset", [0.0, 1 / 64, 0.011, 0.02, 0.5])
def test_warp_shifts_by_fractions_finer_than_its_table(offset):
    source = waves(100, 100, 0.1).astype(np.float32)
    result = warp(source, np.array([[1.0, 0, 20 + offset], [0, 1, 20 - offset]]), 60, 60)
    truth = waves(60, 60, 0.1, offset=(20 + offset, 20 - offset))
    assert np.abs(result - truth).max() < 0.4


def test_warp_by_whole_pixels_is_exact():
    source = np.random.default_rng(0).uniform(0, 255, (50, 50, 3)).astype(np.float32)
    np.testing.assert_array_equal(warp(source, np.array([[1.0, 0, 7], [0, 1, 9]]), 30, 30), source[9:39, 7:37])


def test_shrinking_removes_what_the_warp_could_not_show():
    y, x = np.mgrid[:200, :200]
    board = np.repeat((((x + y) % 2) * 255).astype(np.float32)[..., None], 3, axis=2)
    matrix = scaling(3.1, 3.1)
    shrunk, adapted = shrink_for_warp(board, matrix)
    assert shrunk.shape[:2] == (65, 65)
    assert np.abs(warp(shrunk, adapted, 60, 60)[4:-4, 4:-4] - 127.5).max() < 2


def test_hardly_reduced_pictures_are_not_shrunk():
    source = np.zeros((20, 20, 3), np.float32)
    shrunk, adapted = shrink_for_warp(source, scaling(1.05, 1.05))
    assert shrunk is source
    np.testing.assert_array_equal(adapted, scaling(1.05, 1.05))


def test_masks_stay_in_their_range_and_end_in_zeros():
    mask = np.pad(np.ones((40, 40), np.float32), 10)
    for matrix in (TURN, scaling(2.7, 2.7), scaling(0.3, 0.3)):
        small, adapted = shrink_for_warp(mask, matrix, positive=True)
        result = warp_mask(small, adapted, 120, 120)
        assert result.min() == 0 and 0.999 < result.max() <= 1.000001
    assert warp_mask(np.ones((10, 10), np.float32), np.array([[1.0, 0, -5], [0, 1, -5]]), 30, 30)[:4].max() == 0


def test_threads_play_no_part():
    picture = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    source = picture.astype(np.float32)
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        one = resize(picture, 433, 611), warp(source, TURN, 200, 150)
        cv2.setNumThreads(4)
        many = resize(picture, 433, 611), warp(source, TURN, 200, 150)
    finally:
        cv2.setNumThreads(threads)
    for a, b in zip(one, many, strict=True):
        np.testing.assert_array_equal(a, b)
