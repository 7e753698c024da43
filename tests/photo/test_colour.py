"""Conversions to and from sRGB against littleCMS, against formulas, and there and back."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from restorer.photo import colour, from_srgb, to_srgb
from tests.photo import samples


def _wide_profiles() -> dict[str, bytes]:
    steps = np.linspace(0, 1, 1024)
    return {
        "p3": samples.p3(),
        "adobe": samples.adobe(),
        "adobe-table": samples.profile(samples.ADOBE_RGB[0], samples.sampled(steps**2.19921875)),
        "p3-type4": samples.profile(samples.DISPLAY_P3[0], samples.parametric(4, (*samples.SRGB[1][1], 0.0, 0.0))),
        "p3-type1": samples.profile(samples.DISPLAY_P3[0], samples.parametric(1, (2.2, 1.0, 0.0))),
    }


WIDE = _wide_profiles()


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_there_and_back(name: str, dtype: type) -> None:
    pixels = samples.noise(64, 64, 3, dtype)
    pixels[0, :8] = np.array([[i & 1, i >> 1 & 1, i >> 2] for i in range(8)], dtype) * np.iinfo(dtype).max
    values = to_srgb(pixels, WIDE[name])
    assert values.dtype == np.float32
    back = from_srgb(values, WIDE[name], np.float32)
    assert np.abs(back - pixels / (np.iinfo(dtype).max / 255)).max() < 0.01
    assert np.array_equal(from_srgb(values, WIDE[name], np.uint8), np.rint(pixels / (np.iinfo(dtype).max / 255)))


@pytest.mark.parametrize("name", WIDE)
def test_agrees_with_littlecms(name: str) -> None:
    pixels = samples.noise(64, 64, 3, np.uint8)
    expected = ImageCms.profileToProfile(
        Image.fromarray(pixels),
        ImageCms.ImageCmsProfile(io.BytesIO(WIDE[name])),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.NOOPTIMIZE,
    )
    assert np.abs(np.clip(to_srgb(pixels, WIDE[name]), 0, 255) - np.asarray(expected)).max() <= 1


def test_pure_p3_red_lies_outside_of_srgb() -> None:
    red = to_srgb(np.array([[[255, 0, 0]]], np.uint8), WIDE["p3"])[0, 0] / 255
    # CSS Color 4's sample: color(display-p3 1 0 0) = color(srgb 1.0930 -0.2267 -0.1501)
    assert red == pytest.approx([1.0930, -0.2267, -0.1501], abs=1e-3)


def test_srgb_and_no_profile_change_nothing() -> None:
    deep = samples.noise(16, 16, 3, np.uint16)
    srgb = samples.profile(samples.SRGB[0], samples.parametric(*samples.SRGB[1]))
    littlecms = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for icc in (None, srgb, littlecms):
        assert np.array_equal(to_srgb(deep, icc), deep.astype(np.float32) / np.float32(257))
        assert np.array_equal(from_srgb(to_srgb(deep, icc), icc, np.uint16), deep)
        eight = samples.noise(16, 16, 3, np.uint8)
        assert np.array_equal(to_srgb(eight, icc), eight)


def test_grey_profile_keeps_grey_grey() -> None:
    icc = samples.profile(None, samples.parametric(0, (1.8,)))
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
    values = to_srgb(ramp, icc)
    assert np.ptp(values, axis=2).max() < 1e-3
    # 128 in gamma 1.8 is this much light, by sRGB's formula this level
    light = (128 / 255) ** 1.8
    assert values[0, 128, 0] == pytest.approx((1.055 * light ** (1 / 2.4) - 0.055) * 255, abs=0.01)
    assert np.array_equal(from_srgb(values, icc, np.uint8), ramp)


def test_profile_of_tables_goes_through_littlecms() -> None:
    icc = samples.lightness_profile()
    assert colour.problem(icc) is None
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
    values = to_srgb(ramp, icc)
    # CIE 1976: Y from L*, then sRGB's formula; L* = 50.2 for level 128
    light = ((100 * 128 / 255 + 16) / 116) ** 3
    assert values[0, 128] == pytest.approx([(1.055 * light ** (1 / 2.4) - 0.055) * 255] * 3, abs=1)
    assert np.abs(from_srgb(values, icc, np.uint8).astype(int) - ramp).max() <= 2


def test_float_input_beyond_white_and_black_survives() -> None:
    values = np.array([[[-12.0, 3.0, 270.0]]], np.float32)
    for icc in (WIDE["p3"], WIDE["adobe"], None):
        assert from_srgb(to_srgb(values, icc), icc, np.float32) == pytest.approx(values, abs=0.02)


def test_result_is_clipped_and_rounded() -> None:
    values = np.array([[[-40.0, 99.6, 400.0]]], np.float32)
    assert from_srgb(values, None, np.uint8).tolist() == [[[0, 100, 255]]]
    assert from_srgb(values, None, np.uint16).tolist() == [[[0, round(99.6 * 257), 65535]]]


def test_input_is_left_alone() -> None:
    values = np.full((2, 2, 3), 100, np.float32)
    from_srgb(values, WIDE["p3"], np.uint16)
    to_srgb(values, WIDE["p3"])
    assert (values == 100).all()


@pytest.mark.parametrize(
    "damage", [lambda icc: icc[:140], lambda icc: icc[:-30], lambda icc: icc.replace(b"para", b"para"[::-1])]
)
def test_damaged_profile_counts_as_srgb(damage) -> None:
    icc = damage(WIDE["p3"])
    assert "colour profile" in (colour.problem(icc) or "")
    pixels = samples.gradient()
    assert np.array_equal(to_srgb(pixels, icc), pixels)


def test_sound_profiles_have_no_problem() -> None:
    assert all(colour.problem(icc) is None for icc in WIDE.values())
