import numpy as np
import pytest
from skimage.transform import estimate_transform

from restorer.errors import RestorerError
from restorer.faces import Face
from restorer.pipeline.align import TEMPLATE, GeometryError, align, similarity, template
from restorer.resample import transform

from .scenes import face_at, waves, waves_at

IDENTITY = np.array([[1.0, 0, 0], [0, 1, 0]])


def face_with(points):
    return Face(box=(0, 0, 1, 1), score=0.9, landmarks=np.asarray(points, np.float32))


def test_template_points_give_the_identity():
    np.testing.assert_allclose(similarity(TEMPLATE, TEMPLATE), IDENTITY, atol=1e-12)


def test_a_crop_at_the_template_is_the_photograph_itself():
    photo = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    crop = align(photo, face_with(TEMPLATE)).crop
    assert crop.dtype == np.float32
    # The points are float32, so the transform misses the identity by about 1e-6.
    np.testing.assert_allclose(crop, photo, atol=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_fit_equals_skimage_umeyama(seed):
    rng = np.random.default_rng(seed)
    points = TEMPLATE * rng.uniform(0.1, 3) + rng.normal(0, 20, (5, 2)) + rng.uniform(-500, 500, 2)
    fitted = similarity(points, TEMPLATE)
    assert fitted.dtype == np.float64 and fitted.shape == (2, 3)
    reference = estimate_transform("similarity", points, TEMPLATE)
    np.testing.assert_allclose(fitted, reference.params[:2], rtol=1e-9, atol=1e-9)


def test_fit_recovers_a_known_transform_without_reflection():
    known = np.array([[0.6, -0.8, 12.5], [0.8, 0.6, -3.25]]) * np.array([[1.7], [1.7]])
    fitted = similarity(TEMPLATE, transform(known, TEMPLATE))
    np.testing.assert_allclose(fitted, known, atol=1e-10)
    assert np.linalg.det(fitted[:, :2]) > 0


def test_template_of_another_size_keeps_pixel_centres():
    # The middle between pixels 255 and 256 of 512 is that between 127 and 128 of 256.
    np.testing.assert_allclose((template(256) + 0.5) / 256, (TEMPLATE + 0.5) / 512)
    assert template(512) == pytest.approx(TEMPLATE)


@pytest.mark.parametrize("scale", [0.23, 0.5, 0.8, 1.0, 1.7, 4.0])
@pytest.mark.parametrize("degrees", [0, 37, 111, 230])
def test_crop_holds_the_photograph_at_the_transformed_places(scale, degrees):
    size = 128
    side = int(size / scale * 1.5) + 30
    frequency = 0.15 * min(1, scale)
    photo = np.rint(waves(side, side, frequency)).astype(np.uint8)
    centre = (side / 2 + 0.3, side / 2 - 1.4)
    aligned = align(photo, face_at(centre, scale, degrees, size), size)
    crop_to_photo = np.linalg.inv(np.vstack([aligned.photo_to_crop, [0, 0, 1]]))[:2]
    y, x = np.mgrid[:size, :size]
    places = transform(crop_to_photo, np.stack([x.ravel(), y.ravel()], axis=1)).reshape(size, size, 2)
    truth = waves_at(places[..., 0], places[..., 1], frequency)
    assert np.abs(aligned.crop - truth).max() < 2


def test_a_face_larger_than_the_crop_is_reduced_without_aliasing():
    # A checkerboard of single pixels averages to grey; sampled without a filter it would show stripes.
    y, x = np.mgrid[:700, :700]
    photo = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)
    crop = align(photo, face_at((350, 350), 0.25, 20, 128), 128).crop
    assert np.abs(crop - 127.5).max() < 4


def test_sixteen_bits_are_kept():
    deep = np.rint(waves(200, 200, 0.05) * 257).astype(np.uint16)
    aligned = align(deep, face_at((100, 100), 1.0, 30, 96), 96)
    shallow = align((deep / 257).round().astype(np.uint8), face_at((100, 100), 1.0, 30, 96), 96)
    assert aligned.crop.dtype == np.float32
    assert 0.1 < np.abs(aligned.crop - shallow.crop).max() < 1
    constant = align(np.full((50, 50, 3), 12345, np.uint16), face_at((25, 25), 2.0, 10, 96), 96).crop
    np.testing.assert_allclose(constant, 12345 / 257, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_overshoot_is_clipped_and_the_photograph_left_alone(dtype):
    top = {np.uint8: 255, np.uint16: 65535, np.float32: 255}[dtype]
    photo = np.zeros((80, 80, 3), dtype)
    photo[:, 40:] = top
    before = photo.copy()
    crop = align(photo, face_at((40, 40), 2.0, 25, 96), 96).crop
    assert crop.min() >= 0 and crop.max() <= 255
    np.testing.assert_array_equal(photo, before)


def test_beyond_the_photograph_the_picture_is_mirrored():
    photo = np.rint(waves(60, 60, 0.05)).astype(np.uint8)
    size = 64
    # The crop's middle lies on the photograph's left edge (x = -0.5), upright and at scale 1.
    crop = align(photo, face_at((-0.5, 30), 1.0, 0, size), size).crop
    np.testing.assert_allclose(crop[:, : size // 2], crop[:, size // 2 :][:, ::-1], atol=0.05)


def test_only_the_face_region_matters():
    photo = np.random.default_rng(3).integers(0, 256, (400, 400, 3), np.uint8)
    face = face_at((120, 120), 1.0, 15, 96)
    crop = align(photo, face, 96).crop
    other = photo.copy()
    other[:, 250:] = 0
    other[250:] = 255
    np.testing.assert_array_equal(align(other, face, 96).crop, crop)


@pytest.mark.parametrize(
    ("points", "word"),
    [
        (np.full((5, 2), 37.0), "within a pixel"),
        (TEMPLATE * 0.002, "within a pixel"),
        (np.full((5, 2), np.nan), "not finite"),
        (np.array([[0, 0], [1, 1], [np.inf, 2], [3, 3], [4, 4]]), "not finite"),
        (TEMPLATE * [-1, 1] + [512, 0], "not lie like"),
        (TEMPLATE + 5000, "outside"),
    ],
)
def test_points_that_make_no_face_are_refused(points, word):
    with pytest.raises(GeometryError, match=word) as caught:
        align(np.zeros((600, 600, 3), np.uint8), face_with(points))
    assert isinstance(caught.value, RestorerError) and isinstance(caught.value, ValueError)


def test_a_profile_is_accepted():
    profile = TEMPLATE * [0.05, 1] + [200, 0]
    aligned = align(np.zeros((600, 600, 3), np.uint8), face_with(profile))
    assert np.isfinite(aligned.photo_to_crop).all()
    # Upright still: a profile must not turn the face.
    assert abs(aligned.photo_to_crop[1, 0]) < 0.1 * aligned.photo_to_crop[0, 0]
