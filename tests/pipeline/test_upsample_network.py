import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from restorer.contract import NetworkContract
from restorer.errors import OutOfMemoryError, RestorerError
from restorer.pipeline.upsample import CPU_RESULT, DEVICE_TILE, Background, enlarge, enlarged_size, upsample_background
from restorer.tone import GREY

from .scenes import waves


class FakeEngine:
    """A network that averages over 2·radius + 1 pixels (zeros beyond its input) and repeats pixels."""

    backend = "torch"
    precision = "fp32"

    def __init__(self, upscale=2, radius=1, multiple=1, device="cpu", most=None, order="rgb"):
        self.contract = NetworkContract(
            "fake", "upsampler", colour_order=order, scale=1 / 255, size_multiple=multiple, upscale=upscale
        )
        self.device, self.warnings = device, []
        self.radius, self.most, self.shapes, self.ranges = radius, most, [], []

    def __call__(self, batch):
        self.shapes.append(batch.shape)
        self.ranges.append((batch.min(), batch.max()))
        assert batch.dtype == np.float32 and batch.flags.c_contiguous
        if self.most is not None and max(batch.shape[2:]) > self.most:
            raise OutOfMemoryError("too large")
        n = self.contract.size_multiple
        assert batch.shape[2] % n == 0 and batch.shape[3] % n == 0
        # Like a network that packs pixels, it sees only whole blocks.
        blocks = batch.reshape(1, 3, batch.shape[2] // n, n, batch.shape[3] // n, n).mean(axis=(3, 5))
        image = 0.5 * batch + 0.5 * blocks.repeat(n, axis=2).repeat(n, axis=3)
        side = 2 * self.radius + 1
        smooth = uniform_filter(image, (1, 1, side, side), mode="constant")
        return (smooth.repeat(self.contract.upscale, axis=2).repeat(self.contract.upscale, axis=3),)

    def describe(self):
        return "fake"


def picture(height=150, width=130, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (height, width, 3), dtype)


def upsampled(pixels, scale, engine, **options):
    width, height = enlarged_size(pixels.shape[1], pixels.shape[0], scale)
    return upsample_background(pixels, width, height, engine, **options)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("tile", [32, 48, 64, 100, 128, 1000])
@pytest.mark.parametrize(("upscale", "multiple"), [(2, 2), (4, 1), (4, 4)])
def test_tiles_equal_the_whole(dtype, tile, upscale, multiple):
    photo = picture(dtype=dtype)
    engine = FakeEngine(upscale, radius=2, multiple=multiple)
    whole = upsampled(photo, upscale, engine, tile=0)
    tiled = upsampled(photo, upscale, engine, tile=tile)
    assert whole.pixels.shape == (150 * upscale, 130 * upscale, 3) and whole.pixels.dtype == dtype
    # Sums of weights differ from 1 by float rounding only.
    assert np.abs(tiled.pixels.astype(int) - whole.pixels).max() <= 1
    assert (tiled.pixels != whole.pixels).mean() < 1e-3
    assert tiled.tile == tile and tiled.warnings == ()


def test_the_whole_is_the_network_on_the_mirrored_picture():
    photo = picture(50, 40)
    result = upsampled(photo, 2, FakeEngine(2, radius=3), tile=0).pixels
    mirrored = np.pad(photo.astype(float), ((16, 16), (16, 16), (0, 0)), mode="symmetric")
    truth = uniform_filter(mirrored, (7, 7, 1))[16:-16, 16:-16].repeat(2, axis=0).repeat(2, axis=1)
    assert np.abs(result - truth).max() <= 0.501


def test_all_tiles_have_one_shape():
    engine = FakeEngine(2, multiple=2)
    upsampled(picture(211, 333), 2, engine, tile=64)
    assert len(engine.shapes) > 20
    assert set(engine.shapes) == {(1, 3, 64, 64)}


@pytest.mark.parametrize("multiple", [1, 2, 4])
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (199, 31), (64, 65)])
def test_odd_sizes(multiple, size):
    engine = FakeEngine(4, multiple=multiple, radius=0)
    photo = np.full((*size, 3), 77, np.uint8)
    for tile in (0, 32, 50):
        result = upsampled(photo, 4, engine, tile=tile).pixels
        assert result.shape == (size[0] * 4, size[1] * 4, 3)
        assert (result == 77).all()


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 5.3])
@pytest.mark.parametrize("upscale", [2, 4])
def test_any_final_factor_is_pixel_centre_exact(scale, upscale):
    class Lanczos(FakeEngine):
        def __call__(self, batch):
            big = enlarge(np.ascontiguousarray(batch[0].transpose(1, 2, 0)), upscale)
            return (big.transpose(2, 0, 1)[None],)

    frequency = 0.1 * min(1, scale)
    photo = np.rint(waves(151, 120, frequency)).astype(np.uint8)
    result = upsampled(photo, scale, Lanczos(upscale), tile=64)
    plain = enlarge(photo, scale)
    assert result.pixels.shape == plain.shape
    inner = np.s_[int(8 * scale) + 1 : -int(8 * scale) - 1, int(8 * scale) + 1 : -int(8 * scale) - 1]
    assert np.abs(result.pixels.astype(int) - plain)[inner].max() <= 2


def test_values_reach_the_network_in_its_own_range():
    for dtype in (np.uint8, np.uint16):
        engine = FakeEngine()
        upsampled(picture(dtype=dtype), 2, engine, tile=0)
        low, high = engine.ranges[0]
        assert low == 0 and high == pytest.approx(1)


def test_sixteen_bits_are_kept():
    photo = np.full((40, 40, 3), 12345, np.uint16)
    assert (upsampled(photo, 2, FakeEngine(radius=0), tile=32).pixels == 12345).all()


def test_colour_order_follows_the_contract():
    photo = np.zeros((20, 20, 3), np.uint8)
    photo[..., 0] = 200
    seen = []

    class Watching(FakeEngine):
        def __call__(self, batch):
            seen.append(batch[0, :, 10, 10])
            return super().__call__(batch)

    result = upsampled(photo, 2, Watching(radius=0, order="bgr"), tile=0).pixels
    np.testing.assert_allclose(seen[0], [0, 0, 200 / 255], rtol=1e-6)
    assert (result == [200, 0, 0]).all()


class Tinting(FakeEngine):
    def __call__(self, batch):
        return (super().__call__(batch)[0] + np.array([0.08, 0, -0.08], np.float32)[:, None, None],)


def test_a_tone_is_given_to_the_result():
    grey = np.full((60, 60, 3), 100, np.uint8)
    coloured = upsampled(grey, 2, Tinting(radius=0), tile=32).pixels
    assert coloured[5, 5].tolist() == [120, 100, 80]
    toned = upsampled(grey, 2, Tinting(radius=0), tile=32, tone=GREY).pixels
    # 0.299 · 120.4 + 0.587 · 100 + 0.114 · 79.6
    assert (toned == 104).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_grey_photograph_stays_grey(dtype):
    grey = np.repeat(picture(dtype=dtype)[..., :1], 3, axis=2)
    result = Background(Tinting(), tile=48)(grey, 200, 300)
    assert result.shape == (300, 200, 3) and (result == result[..., :1]).all()
    coloured = Background(Tinting(), tile=48)(picture(dtype=dtype), 200, 300)
    assert not (coloured == coloured[..., :1]).all()


def test_values_are_clipped():
    class Bright(FakeEngine):
        def __call__(self, batch):
            return (super().__call__(batch)[0] * 3 - 1,)

    result = upsampled(picture(), 2, Bright(radius=0), tile=64).pixels
    assert result.min() == 0 and result.max() == 255


def test_out_of_memory_halves_the_tile_and_says_so():
    photo, said = picture(), []
    result = upsampled(photo, 2, FakeEngine(radius=2, most=70), tile=256, notify=said.append)
    # The picture with its context is 182 pixels high; half of it is 91, and half of that fits.
    assert result.tile == 45
    assert len(result.warnings) == 2 and list(result.warnings) == said
    assert "45" in said[-1] and "memory" in said[-1]
    np.testing.assert_array_equal(result.pixels, upsampled(photo, 2, FakeEngine(radius=2), tile=45).pixels)


def test_out_of_memory_at_the_smallest_tile_is_raised():
    for tile in (0, 32, None):
        with pytest.raises(OutOfMemoryError):
            upsampled(picture(), 2, FakeEngine(most=8), tile=tile)


def test_a_failing_tile_raises():
    class Failing(FakeEngine):
        def __call__(self, batch):
            if len(self.shapes) == 3:
                raise RuntimeError("tile 3")
            return super().__call__(batch)

    with pytest.raises(RuntimeError, match="tile 3"):
        upsampled(picture(), 2, Failing(), tile=64)


def test_broken_results_raise():
    class Empty(FakeEngine):
        def __call__(self, batch):
            return (super().__call__(batch)[0] * np.nan,)

    class Small(FakeEngine):
        def __call__(self, batch):
            return (batch,)

    class Black(FakeEngine):
        def __call__(self, batch):
            return (super().__call__(batch)[0] * 0,)

    with pytest.raises(RestorerError, match="a tile of one colour"):
        upsampled(waves(150, 130, 0.02).astype(np.uint8), 2, Black(), tile=64)
    assert not upsampled(np.full((150, 130, 3), 9, np.uint8), 2, Black(), tile=64).pixels.any()  # as flat as it was
    with pytest.raises(RestorerError, match="not finite"):
        upsampled(picture(), 2, Empty(), tile=64)
    with pytest.raises(RestorerError, match="shape"):
        upsampled(picture(), 2, Small(), tile=64)


def test_progress_counts_the_tiles():
    counts = []
    engine = FakeEngine()
    upsampled(picture(), 2, engine, tile=64, advance=lambda done, total: counts.append((done, total)))
    total = len(engine.shapes)
    assert counts == [(i + 1, total) for i in range(total)]


def test_automatic_tiles_follow_the_device():
    engine = FakeEngine(device="cuda", radius=0)
    assert upsampled(picture(600, 40), 2, engine).tile == DEVICE_TILE
    assert engine.shapes[0] == (1, 3, 512, 72)
    for upscale in (2, 4):
        engine = FakeEngine(radius=0, upscale=upscale)
        tile = CPU_RESULT // upscale
        assert upsampled(picture(1200, 40), upscale, engine).tile == tile
        # on the processor as large as their number needs, and no larger
        assert len(engine.shapes) == -(-(1200 + 32 - 40) // (tile - 40))
        assert engine.shapes[0][2] <= tile and 1200 <= len(engine.shapes) * (engine.shapes[0][2] - 40) + 40 <= 1240


def test_the_input_is_left_alone():
    photo = picture()
    before = photo.copy()
    upsampled(photo, 3, FakeEngine(), tile=64)
    np.testing.assert_array_equal(photo, before)


def test_a_background_remembers_the_tile_that_fits():
    said = []
    engine = FakeEngine(most=70)
    background = Background(engine, tile=128, notify=said.append)
    first = background(picture(), 260, 300)
    assert first.shape == (300, 260, 3) and len(said) == 1
    background(picture(), 260, 300)
    assert len(said) == 1
    assert len([shape for shape in engine.shapes if max(shape) > 70]) == 1
