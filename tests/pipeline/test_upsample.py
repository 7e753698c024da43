import numpy as np
import pytest

from restorer.pipeline.upsample import enlarge, enlarged_size

from .scenes import waves


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(31, 22, 3), (31, 22)])
def test_scale_one_is_the_picture_to_the_bit(dtype, shape):
    picture = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype)
    np.testing.assert_array_equal(enlarge(picture, 1), picture)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(31, 22, 3), (31, 22)])
@pytest.mark.parametrize("scale", [0.5, 1.3, 2.0, 4.0, 8.0])
def test_sizes_and_dtypes(dtype, shape, scale):
    picture = np.full(shape, 200, dtype)
    result = enlarge(picture, scale)
    width, height = enlarged_size(22, 31, scale)
    assert result.shape == (height, width, *shape[2:]) and result.dtype == dtype
    assert (result == 200).all()


def test_an_enlargement_is_what_a_finer_camera_had_seen():
    picture = np.rint(waves(100, 80, 0.15)).astype(np.uint8)
    truth = waves(200, 160, 0.15, scale=2)
    assert np.abs(enlarge(picture, 2).astype(float) - truth)[16:-16, 16:-16].max() < 2


def test_overshoot_is_clipped_not_wrapped():
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:, 20:] = 255
    result = enlarge(picture, 3)
    assert (result[:, :50] < 40).all() and (result[:, 70:] > 215).all()


def test_a_reduction_does_not_alias():
    y, x = np.mgrid[:120, :120]
    board = ((x + y) % 2 * 255).astype(np.uint8)
    assert np.abs(enlarge(board, 0.4).astype(int) - 127)[4:-4, 4:-4].max() <= 3


def test_tiny_pictures():
    assert enlarge(np.full((1, 1, 3), 9, np.uint8), 4).tolist() == [[[9] * 3] * 4] * 4
    assert enlarge(np.full((1, 500, 3), 9, np.uint8), 0.001).shape == (1, 1, 3)
