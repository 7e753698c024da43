"""Blurring and resizing batches, against OpenCV, Pillow and torch."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from restorer.training.damage.filters import convolve, enlarge, gaussian_blur, mirrored, reduce, repeat_edges
from restorer.training.degradations import gaussian_kernel
from tests.training.damage.pictures import texture


def _hwc(image: torch.Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


def test_blur_is_opencvs_and_each_images_own() -> None:
    images = texture(3)
    sigmas = np.array([0.0, 1.2, 4.0])
    blurred = gaussian_blur(images, sigmas)
    assert torch.allclose(blurred[0], images[0], atol=1e-3)
    for row in (1, 2):
        expected = cv2.GaussianBlur(_hwc(images[row]), (41, 41), sigmas[row], borderType=cv2.BORDER_REFLECT_101)
        assert np.abs(_hwc(blurred[row]) - expected).max() < 0.3
    assert torch.equal(gaussian_blur(images[1:2], 1.2, widest=4.0)[0], blurred[1])


def test_blur_of_an_impulse_has_the_variance_asked_for() -> None:
    impulse = torch.zeros(1, 1, 63, 63)
    impulse[..., 31, 31] = 1
    profile = gaussian_blur(impulse, 3.0)[0, 0].sum(0).numpy().astype(np.float64)
    places = np.arange(63) - 31
    assert profile.sum() == pytest.approx(1, abs=1e-5)
    assert (profile * places**2).sum() == pytest.approx(9, rel=0.02)


def test_convolution_is_opencvs_with_kernels_in_any_direction() -> None:
    images = texture(2)
    kernels = np.stack([gaussian_kernel(41, (6.0, 1.0), 0.5), gaussian_kernel(41, (2.0, 5.0), -1.0)])
    kernels[1] = np.roll(kernels[1], 5, axis=0)  # no longer symmetric
    filtered = convolve(images, kernels)
    for row in range(2):
        expected = cv2.filter2D(_hwc(images[row]), -1, kernels[row], borderType=cv2.BORDER_REFLECT_101)
        assert np.abs(_hwc(filtered[row]) - expected).max() < 0.01


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_mirroring_reaches_further_than_a_small_picture(size: int) -> None:
    row = torch.arange(size, dtype=torch.float32).view(1, 1, 1, size)
    expected = np.pad(np.arange(size), 11, mode="reflect")
    assert mirrored(row, 11, 0)[0, 0, 0].tolist() == expected.tolist()


def test_sampling_is_opencvs_and_averaging_pillows() -> None:
    images = texture(2)
    sizes = np.array([[40, 31], [96, 13]])
    for antialias in (False, True):
        small = reduce(images, sizes, antialias=antialias)
        assert small.shape[-2:] == (96, 31)
        for row, (height, width) in enumerate(sizes):
            if antialias:
                planes = [Image.fromarray(plane.numpy()) for plane in images[row]]
                resized = [np.asarray(plane.resize((width, height), Image.Resampling.BILINEAR)) for plane in planes]
                expected = np.stack(resized, axis=-1)
            else:
                expected = cv2.resize(_hwc(images[row]), (int(width), int(height)), interpolation=cv2.INTER_LINEAR)
            assert np.abs(_hwc(small[row])[:height, :width] - expected).max() < 0.05
            beyond = small[row][:, :height, width:]
            assert torch.equal(beyond, small[row][:, :height, width - 1 : width].expand_as(beyond))


@pytest.mark.parametrize("kernel", ["linear", "cubic"])
def test_enlarging_is_pixel_centre_exact(kernel: str) -> None:
    sizes = np.array([[24, 24], [32, 16]])
    canvas = torch.zeros(2, 1, 32, 24)
    for row, (height, width) in enumerate(sizes):
        canvas[row, 0, :height, :width] = torch.arange(width) * 10.0
    large = enlarge(canvas, sizes, 96, 96, kernel=kernel)
    for row, width in enumerate((24, 16)):
        expected = 10 * ((np.arange(96) + 0.5) * width / 96 - 0.5)
        assert np.abs(large[row, 0, 48].numpy() - expected)[12:-12].max() < 1e-3


def test_the_factor_of_a_reduction_is_where_the_spectrum_ends() -> None:
    noise = torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    for factor in (2, 4):
        sizes = np.array([[256 // factor, 256 // factor]])
        back = enlarge(reduce(noise, sizes, antialias=True), sizes, 256, 256)
        power = (np.abs(np.fft.fft2(back[0, 0].numpy())) ** 2).mean(axis=0)
        frequency = np.abs(np.fft.fftfreq(256))
        inside, outside = frequency < 0.5 / factor, frequency > 0.75 / factor
        assert power[outside].mean() < 0.05 * power[inside].mean()


def test_edges_are_repeated_and_images_moved() -> None:
    images = texture(2, 16)
    sizes = np.array([[10, 12], [16, 5]])
    shift = np.array([[3, 0], [1, 2]])
    canvas = repeat_edges(images, sizes, 24, 20, shift)
    for row, ((height, width), (down, right)) in enumerate(zip(sizes, shift, strict=True)):
        inner = images[row, :, :height, :width].numpy()
        margins = ((0, 0), (down, 24 - height - down), (right, 20 - width - right))
        assert np.array_equal(canvas[row].numpy(), np.pad(inner, margins, mode="edge"))
