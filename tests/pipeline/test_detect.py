"""Detection of drawn faces whose boxes and points are known, by a network that knows them."""

from dataclasses import replace

import numpy as np
import pytest

from restorer.pipeline.detect import MAX_TILES, Detector, finer_scale, first_scale
from restorer.pipeline.detect_views import LARGE, SMALL, View, close_look, render, tile_count, tiles, turn_back, view_of
from restorer.pipeline.retinaface_decode import Detections
from tests.pipeline.drawn_faces import POINTS, DrawnFaceEngine, corners, photo


def detect(pixels, **options):
    engine = DrawnFaceEngine(**options)
    return Detector(engine, 0.9)(pixels), engine


def assert_faces(faces, drawn, tolerance=0.06):
    """Every drawn face is found once; box and points are right to a part of the face's size."""
    assert len(faces) == len(drawn)
    for x, y, w, h in drawn:
        wanted = corners(x, y, w, h)
        near = min(faces, key=lambda face: np.abs(np.array(face.box) - wanted).max())
        assert np.abs(np.array(near.box) - wanted).max() <= tolerance * max(w, h) + 0.51
        points = POINTS * [w, h] + wanted[:2]
        assert np.abs(near.landmarks - points).max() <= tolerance * max(w, h)


@pytest.mark.parametrize("size", [24, 40, 90, 160, 400, 700, 1000])
def test_every_size_is_found_in_an_ordinary_photograph(size):
    drawn = [(203, 35, int(size * 0.8), size)]
    faces, engine = detect(photo(1440, 1080, drawn))
    assert_faces(faces, drawn)
    assert engine.looks[LARGE] <= 3
    assert engine.looks[SMALL] <= 3  # a coarse one, a close one and a second one


@pytest.mark.parametrize("shape", [(6000, 4000), (4000, 6000), (9000, 900), (2300, 2300)])
def test_small_and_huge_faces_together_in_a_large_photograph(shape):
    width, height = shape
    huge = min(width, height) // 2
    drawn = [(30, 20, 100, 110), (width - 160, height - 150, 90, 100), (width // 3, height // 4, huge, huge)]
    faces, engine = detect(photo(width, height, drawn))
    assert_faces(faces, drawn)
    assert engine.looks[LARGE] <= 3 * MAX_TILES


def test_sixty_faces_come_from_left_to_right():
    drawn = [(20 + 90 * column, 30 + 100 * row, 40, 48) for row in range(6) for column in range(10)]
    faces, _ = detect(photo(1000, 700, drawn))
    assert_faces(faces, drawn)
    centres = [((face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2) for face in faces]
    assert [round(x) for x, _ in centres] == sorted(round(x) for x, _ in centres)


def test_a_plain_photograph_costs_one_tile_and_one_coarse_view():
    _, engine = detect(photo(4000, 3000, []))
    assert engine.looks == {SMALL: 1, LARGE: 1}
    _, engine = detect(photo(200, 150, []))
    assert engine.looks == {SMALL: 1}


def test_a_face_cut_by_tile_edges_is_whole():
    """Faces everywhere along the seams between tiles, each too small for the whole view alone."""
    drawn = [(150 + 260 * column, 100 + 250 * row, 60, 70) for row in range(8) for column in range(11)]
    faces, _ = detect(photo(3000, 2100, drawn))
    assert_faces(faces, drawn)


def test_16_bits_and_8_bits_find_the_same():
    drawn = [(60, 50, 120, 140)]
    eight, _ = detect(photo(400, 300, drawn))
    sixteen, _ = detect(photo(400, 300, drawn, dtype=np.uint16))
    np.testing.assert_allclose(sixteen[0].box, eight[0].box, atol=1e-3)
    np.testing.assert_allclose(sixteen[0].landmarks, eight[0].landmarks, atol=1e-3)


class UprightEngine(DrawnFaceEngine):
    """Sure of a face only if its red brow is above; finds any, and always guesses the points of an upright one."""

    def probability(self, face, size):
        if size < 16:
            return 0.0
        red = face[2] + 123.0 > 127.5
        half = red.shape[0] // 2
        return 0.9999 if red[:half].mean() > 0.8 and red[half + 1 :].mean() < 0.2 else 0.96


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [50, 130, 400])
def test_a_face_on_its_side_or_upside_down_has_its_points_turned(turns, size):
    pixels = photo(900, 700, [(240, 150, size, size)])
    pixels[150 : 150 + size // 2, 240 : 240 + size, 0] = 255
    upright = POINTS * size + [239.5, 149.5]
    faces = Detector(UprightEngine(), 0.9)(np.ascontiguousarray(np.rot90(pixels, turns)))
    # np.rot90 takes x, y to y, width - 1 - x.
    width, height = 900, 700
    for _ in range(turns):
        upright = np.stack([upright[:, 1], width - 1 - upright[:, 0]], axis=1)
        width, height = height, width
    assert len(faces) == 1
    assert np.abs(faces[0].landmarks - upright).max() < 0.05 * size
    assert faces[0].score > 0.999


@pytest.mark.parametrize(("upright", "looks"), [(0.95, 3), (0.998, 6)])
def test_how_sure_a_detector_is_of_upright_faces_stands_in_its_contract(upright, looks):
    class Modest(DrawnFaceEngine):
        contract = replace(DrawnFaceEngine.contract, upright_score=upright)

    engine = Modest(lambda size: 0.97 if size >= 16 else 0.0)
    assert len(Detector(engine, 0.9)(photo(1440, 1080, [(203, 35, 60, 70)]))) == 1
    assert engine.looks[SMALL] == looks  # a coarse one, a close one and a second one; and three quarter turns


def test_turning_back_undoes_numpys_quarter_turns():
    rng = np.random.default_rng(2)
    canvas = np.zeros((32, 32))
    x, y = 5, 20
    canvas[y, x] = 1
    for turns in range(4):
        row, column = np.argwhere(np.rot90(canvas, turns))[0]
        points = rng.uniform(0, 32, (1, 5, 2)).astype(np.float32)
        points[0, 0] = [column + 0.5, row + 0.5]
        box = np.array([[column, row, column + 1, row + 1]], np.float32)
        back = turn_back(Detections(box, np.ones(1, np.float32), points), turns, (32, 32))
        np.testing.assert_allclose(back.boxes, [[x, y, x + 1, y + 1]])
        np.testing.assert_allclose(back.points[0, 0], [x + 0.5, y + 0.5])


def test_the_batch_changes_nothing():
    drawn = [(20 + 140 * column, 30 + 150 * row, 50, 60) for row in range(4) for column in range(9)]
    pixels = photo(1400, 700, drawn)
    results = []
    for batch in (1, 3, 8):
        engine = DrawnFaceEngine()
        results.append(Detector(engine, 0.9, batch=batch)(pixels))
        assert max(engine.batches) <= batch
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            assert first.box == second.box
            assert first.score == second.score
            np.testing.assert_array_equal(first.landmarks, second.landmarks)


def test_what_the_close_look_does_not_confirm_is_dropped():
    """Sure while it is small, nothing when looked at closely: a pattern that only looks like a face from afar."""
    faces, _ = detect(photo(600, 400, [(100, 100, 50, 50)]), score=lambda size: 0.99 if size < 100 else 0.0)
    assert faces == []


def test_a_weak_candidate_becomes_sure_when_seen_closely():
    faces, _ = detect(photo(600, 400, [(100, 100, 24, 24)]), score=lambda size: 0.95 if size > 100 else 0.4)
    assert [round(face.score, 2) for face in faces] == [0.95]


@pytest.mark.parametrize(("threshold", "found"), [(0.9, 0), (0.5, 1), (0.1, 1)])
def test_the_threshold_decides(threshold, found):
    engine = DrawnFaceEngine(score=lambda size: 0.6)
    assert len(Detector(engine, threshold)(photo(300, 300, [(80, 90, 100, 110)]))) == found


def test_a_face_beyond_the_edge_has_its_box_cut_and_its_points_kept():
    class Shifted(DrawnFaceEngine):
        def _answer(self, canvas):
            boxes, classes, points = super()._answer(canvas)
            boxes[:, 2] += 2  # wider boxes: they reach beyond the photograph
            return boxes, classes, points

    faces = Detector(Shifted(), 0.9)(photo(300, 300, [(0, 90, 110, 110)]))
    assert len(faces) == 1
    x0, y0, x1, y1 = faces[0].box
    assert x0 == 0
    assert 0 < y0 < y1 < 300
    assert x1 < 300


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_glance_is_one_look(dtype):
    drawn = [(60, 50, 130, 160)]
    engine = DrawnFaceEngine()
    pixels = photo(256, 256, drawn).astype(dtype) * (257 if dtype is np.uint16 else 1)
    assert_faces(Detector(engine, 0.5).glance(pixels), drawn)
    assert engine.looks == {SMALL: 1}


def test_a_glance_at_a_large_picture_is_reduced_and_placed():
    drawn = [(300, 200, 500, 600)]
    engine = DrawnFaceEngine()
    assert_faces(Detector(engine, 0.5).glance(photo(1200, 1000, drawn)), drawn)
    assert engine.looks == {SMALL: 1}


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_glance_that_is_not_sure_turns_the_picture(turns):
    pixels = photo(256, 256, [(60, 50, 130, 130)])
    pixels[50:115, 60:190, 0] = 255
    engine = UprightEngine()
    (face,) = Detector(engine, 0.5).glance(np.ascontiguousarray(np.rot90(pixels, turns)))
    upright = POINTS * 130 + [59.5, 49.5]
    for _ in range(turns):  # np.rot90 takes x, y to y, width - 1 - x
        upright = np.stack([upright[:, 1], 255 - upright[:, 0]], axis=1)
    assert np.abs(face.landmarks - upright).max() < 0.05 * 130
    assert engine.looks == {SMALL: 1 if turns == 0 else 4}


def test_a_glance_refuses_and_leaves_out_what_a_call_does():
    look = Detector(DrawnFaceEngine(), 0.9)
    assert look.glance(np.zeros((0, 0, 3), np.uint8)) == []
    assert look.glance(photo(256, 256, [])) == []
    with pytest.raises(ValueError, match="H×W×3"):
        look.glance(np.zeros((4, 4, 3)))


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (3, 3), (20, 9000), (257, 2)])
def test_tiny_and_thin_photographs_have_no_faces(shape):
    for dtype in (np.uint8, np.uint16):
        faces, _ = detect(np.zeros((*shape, 3), dtype=dtype))
        assert faces == []


def test_an_empty_photograph_has_no_faces():
    assert detect(np.zeros((0, 0, 3), np.uint8))[0] == []


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_other_arrays_are_refused(wrong):
    with pytest.raises(ValueError, match="H×W×3"):
        Detector(DrawnFaceEngine(), 0.9)(wrong)


def test_an_engine_without_memory_is_heard():
    class Full(DrawnFaceEngine):
        def __call__(self, batch):
            raise MemoryError

    with pytest.raises(MemoryError):
        Detector(Full(), 0.9)(photo(300, 300, []))


@pytest.mark.parametrize(
    ("width", "height"), [(640, 640), (1440, 1080), (6000, 4000), (20000, 1000), (700, 9000), (5, 5)]
)
def test_scales_and_tiles_stay_bounded(width, height):
    scale, steps = first_scale(width, height), 0
    while scale is not None:
        assert 0 < scale <= 1
        assert tile_count(width * scale) * tile_count(height * scale) <= MAX_TILES
        views = tiles(width, height, scale)
        seen = np.zeros((height, width), dtype=bool)
        for view in views:
            x0, y0, x1, y1 = view.window
            seen[y0:y1, x0:x1] = True
            assert 0 < view.width <= view.canvas
            assert 0 < view.height <= view.canvas
        assert seen.all()
        scale, steps = finer_scale(width, height, scale), steps + 1
    assert steps <= 5


def test_close_look_holds_the_box_at_the_size_asked_for():
    view = close_look(np.array([700.0, 300.0, 900.0, 550.0], np.float32), 125.0, 2000, 1500)
    assert view.canvas == SMALL
    assert view.scale == pytest.approx((0.5, 0.5), rel=0.01)
    assert view.window[0] <= 700 - 150
    # At the photograph's edge the window is cut, at the same scale.
    edge = close_look(np.array([-20.0, -20.0, 80.0, 105.0], np.float32), 125.0, 2000, 1500)
    assert edge.window[:2] == (0, 0)
    assert edge.scale == pytest.approx((1.0, 1.0), rel=0.02)
    outside = close_look(np.array([5000.0, 5000.0, 5100.0, 5100.0], np.float32), 125.0, 2000, 1500)
    assert outside.window[2] > outside.window[0]


def test_the_middle_of_a_view_is_the_middle_of_its_window():
    view = View((10, 20, 110, 70), 50, 25, 256)
    np.testing.assert_allclose(view.to_photo(np.array([[25.0, 12.5]], np.float32)), [[59.5, 44.5]])
    np.testing.assert_allclose(view.to_photo(np.array([[0.0, 0.0]], np.float32)), [[9.5, 19.5]])


def test_rendering_averages_areas_and_keeps_depth():
    pixels = np.zeros((4, 4, 3), np.uint16)
    pixels[:2, :2] = 65535
    values = render(pixels, view_of((0, 0, 4, 4), 0.5, 256))
    np.testing.assert_allclose(values[:, :, 0], [[255, 0], [0, 0]])
    values = render(pixels, view_of((0, 0, 4, 4), 0.25, 256))
    np.testing.assert_allclose(values[0, 0], 255 / 4, atol=0.01)


def test_only_what_the_views_fill_goes_through_the_network():
    shapes = []

    class Watching(DrawnFaceEngine):
        def __call__(self, batch):
            shapes.append(batch.shape[2:])
            return super().__call__(batch)

    Detector(Watching(), 0.9)(photo(1440, 1080, [(300, 300, 200, 240)]))
    assert (480, 640) in shapes
    shapes.clear()
    Detector(Watching(), 0.9)(photo(900, 1440, [(300, 300, 200, 240)]))
    assert (640, 416) in shapes  # 400 wide, in full steps of the network's grid


def test_a_level_finer_takes_two_tiles_a_side():
    for width, height in ((4000, 3000), (3000, 4000), (6000, 4000), (5184, 3456)):
        scale = finer_scale(width, height, first_scale(width, height))
        assert len(tiles(width, height, scale)) == 4
