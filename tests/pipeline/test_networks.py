"""The networks of a run: opened when needed and once, of the right kind, and what they mended stands in the reports."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from restorer import runtime
from restorer.api import Restorer
from restorer.contract import NetworkContract
from restorer.errors import OutOfMemoryError, WeightsError
from restorer.options import RestoreOptions
from restorer.photo import Metadata, Photo
from restorer.pipeline import networks as module
from restorer.pipeline.networks import OpenedNetworks
from restorer.report import ModelReport, Status
from restorer.runtime import Engine
from restorer.weights import Weights
from tests.fakes import CONTRACT, FakeEngine, brighter, detector_of, face_at

NOTICE = "using the bundled network detector-lite in place of a better one: no connection"
UPSAMPLER = NetworkContract("fake", "upsampler", scale=1 / 255, upscale=2)


def weights(name: str, **keywords: Any) -> Weights:
    return Weights(name, Path(f"{name}.pth"), "0" * 64, **keywords)


class Store:
    """Has every file."""

    def check_face_model(self, model: str) -> None:
        assert model == "auto"

    def face_model(self, model: str) -> Weights:
        return weights("face")

    def remembered_face_model(self, model: str) -> Weights | None:
        return None

    def detector(self, name: str) -> Weights:
        return weights("detector", fallback=True, notice=NOTICE)

    def parser(self) -> Weights | None:
        return None

    def background(self, name: str) -> Weights:
        return weights(name)


def repeat_up_to(most: int) -> Any:
    """Return a network that repeats pixels, with memory for tiles of so many."""

    def enlarge(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if max(batch.shape[2:]) > most:
            raise OutOfMemoryError("too large")
        return batch.repeat(2, axis=2).repeat(2, axis=3)

    return enlarge


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeEngine]:
    """Give an engine for every weight file; what is opened is counted by the name."""
    made = {
        "face": FakeEngine(brighter),
        "detector": FakeEngine(contract=NetworkContract("fake", "detector")),
        "realesrgan": FakeEngine(repeat_up_to(70), UPSAMPLER),
    }
    opened: list[str] = []

    def open_engine(found: Weights, **keywords: Any) -> FakeEngine:
        assert keywords == {"device": "auto", "precision": "auto"}
        opened.append(found.name)
        return made[found.name]

    monkeypatch.setattr(runtime, "open_engine", open_engine)
    monkeypatch.setattr(module, "Detector", detector_of(face_at(50, 50, 40)))
    made["opened"] = opened  # type: ignore[assignment]
    return made


def networks(**options: Any) -> OpenedNetworks:
    return OpenedNetworks(RestoreOptions(**options), store=Store())  # type: ignore[arg-type]


def test_each_is_opened_once_and_only_when_needed(engines: dict[str, Any]) -> None:
    said: list[str] = []
    opened = OpenedNetworks(RestoreOptions(), store=Store(), describe=said.append)  # type: ignore[arg-type]
    assert engines["opened"] == [] and opened.device() == (None, None)
    assert opened.face_model() == ModelReport("face", "0" * 64, False) and engines["opened"] == []
    for _ in range(2):
        opened.find()
        opened.face_restorer()
        assert opened.parser() is None and opened.background() is None
    assert engines["opened"] == ["detector", "face"] and opened.device() == ("cpu", "fp32")
    assert [line.split(" (")[0] for line in said] == ["detector: detector", "face: face"]


class Remembering(Store):
    """Knows the face model without looking."""

    def remembered_face_model(self, model: str) -> Weights | None:
        return weights("face")


def expecting(monkeypatch: pytest.MonkeyPatch, *, cached: bool = True) -> OpenedNetworks:
    monkeypatch.setattr(runtime, "opens_from_cache", lambda found, device: cached)
    return OpenedNetworks(RestoreOptions(), store=Remembering())  # type: ignore[arg-type]


def test_the_face_network_is_opened_while_faces_are_sought(
    engines: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sought = threading.Event()
    at_once = runtime.open_engine

    def open_engine(found: Weights, **keywords: Any) -> Engine:
        assert found.name != "face" or sought.wait(30), "the detector has to wait for the face network"
        return at_once(found, **keywords)

    monkeypatch.setattr(runtime, "open_engine", open_engine)
    opened = expecting(monkeypatch)
    for _ in range(2):
        opened.expect_faces()
    assert len(opened.find()(np.zeros((9, 9, 3), np.uint8))) == 1
    sought.set()
    assert opened.face_restorer().engine is engines["face"] and opened.device() == ("cpu", "fp32")
    opened.expect_faces()
    assert sorted(engines["opened"]) == ["detector", "face"], "each is opened once"


def test_what_goes_wrong_beside_is_said_when_the_network_is_needed(
    engines: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engines["face"].contract = NetworkContract("fake", "parser")
    opened = expecting(monkeypatch)
    opened.expect_faces()
    opened.find()
    with pytest.raises(WeightsError, match="kind face is needed"):
        opened.face_restorer()

    def damaged(found: Weights, **keywords: Any) -> Engine:
        raise WeightsError(f"{found.name} is damaged")

    monkeypatch.setattr(runtime, "open_engine", damaged)
    opened = expecting(monkeypatch)
    opened.expect_faces()
    with pytest.raises(WeightsError, match="face is damaged"):
        opened.face_restorer()


def test_a_network_that_is_not_at_hand_waits_for_a_face(
    engines: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expecting(monkeypatch, cached=False).expect_faces()
    networks().expect_faces()
    assert engines["opened"] == []


def test_stand_in_detector_is_named_in_every_report(engines: dict[str, Any]) -> None:
    opened = networks()
    opened.find()
    assert opened.take_notices() == opened.take_notices() == (NOTICE,)


def test_what_an_engine_warns_of_is_told_once(engines: dict[str, Any]) -> None:
    opened = networks()
    opened.face_restorer()
    engines["face"].warnings.append("bf16 is not to be had here")
    assert opened.take_notices() == ("bf16 is not to be had here",)
    assert opened.take_notices() == ()


def test_network_of_another_kind_is_refused(engines: dict[str, Any]) -> None:
    engines["face"].contract = NetworkContract("fake", "parser")
    with pytest.raises(WeightsError, match=r"face\.pth holds a network of kind parser .* kind face is needed"):
        networks().face_restorer()
    engines["face"].contract = NetworkContract("fake", "face", upscale=2)
    with pytest.raises(WeightsError, match="it is no face model"):
        networks().face_restorer()
    engines["realesrgan"].contract = CONTRACT
    with pytest.raises(WeightsError, match="kind upsampler is needed"):
        networks(bg_upsampler="realesrgan").background()


def test_a_face_spoilt_in_bf16_is_told_in_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def black(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.full_like(batch, -1)

    asked: list[str] = []

    def open_engine(found: Weights, *, device: str, precision: str) -> FakeEngine:
        asked.append(f"{found.name} {precision}")
        if found.name == "detector":
            return FakeEngine(contract=NetworkContract("fake", "detector"))
        engine = FakeEngine(brighter if precision == "fp32" else black)
        engine.precision = "fp32" if precision == "fp32" else "bf16"
        return engine

    monkeypatch.setattr(runtime, "open_engine", open_engine)
    monkeypatch.setattr(module, "Detector", detector_of(face_at(50, 50, 80)))
    monkeypatch.setattr(OpenedNetworks, "confirm", lambda self: None)  # that detector sees one in its crop, too
    ramp = np.linspace(0, 255, 100).astype(np.uint8)[:, None, None].repeat(100, 1).repeat(3, 2)
    options = RestoreOptions(min_face=0)
    opened = OpenedNetworks(options, store=Store())  # type: ignore[arg-type]
    report = Restorer(options, engines=opened).restore(Photo(ramp, None, False, "PNG", Metadata())).report
    assert report.status is Status.RESTORED and report.precision == "bf16"
    assert report.warnings[-1] == (
        "The face network gave a picture of one colour in bf16: that face was restored in fp32 instead."
    )
    assert asked == ["detector auto", "face auto", "face fp32"]


def picture(dtype: type = np.uint8, *, alpha: bool = False, grey: bool = False) -> Photo:
    rng = np.random.default_rng(1)
    top = np.iinfo(dtype).max
    pixels = rng.integers(0, top, (100, 100, 1 if grey else 3), dtype).repeat(3 if grey else 1, axis=2)
    mask = rng.integers(0, top, (100, 100), dtype) if alpha else None
    return Photo(pixels, mask, grey, "PNG", Metadata())


def test_halved_tile_stands_in_the_report_and_stays_halved(engines: dict[str, Any]) -> None:
    ticks: list[tuple[int, int]] = []
    options = RestoreOptions(bg_upsampler="realesrgan", strength=0)
    opened = OpenedNetworks(options, store=Store(), tiles=lambda *tick: ticks.append(tick))  # type: ignore[arg-type]
    restorer = Restorer(options, engines=opened)
    first, second = restorer.restore(picture()), restorer.restore(picture())
    # 100 pixels and 16 of mirror image on each side are tried whole: 132, and half of that fits
    assert first.report.warnings == (NOTICE, "Background tiles of 132 pixels did not fit into memory: 66 from here on.")
    assert second.report.warnings == (NOTICE,) and first.report.status is Status.UNCHANGED
    np.testing.assert_array_equal(first.photo.pixels, second.photo.pixels)
    assert ticks and ticks[-1][0] == ticks[-1][1] > 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("alpha", "grey"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("upscale", [2.0, 1.5])
def test_depth_alpha_and_grey_come_through_a_background_network(
    engines: dict[str, Any], dtype: type, alpha: bool, grey: bool, upscale: float
) -> None:
    options = RestoreOptions(bg_upsampler="realesrgan", strength=0, upscale=upscale, tile=64)
    photo = picture(dtype, alpha=alpha, grey=grey)
    result = Restorer(options, engines=OpenedNetworks(options, store=Store())).restore(photo).photo  # type: ignore[arg-type]
    side = round(100 * upscale)
    assert result.pixels.shape == (side, side, 3) and result.pixels.dtype == dtype
    assert (result.alpha is not None) == alpha and (result.alpha is None or result.alpha.dtype == dtype)
    if grey:
        assert (result.pixels == result.pixels[..., :1]).all()
    if upscale == 2:
        repeated = photo.pixels.repeat(2, axis=0).repeat(2, axis=1).astype(int)
        assert np.abs(result.pixels - repeated).max() <= (1 if dtype is np.uint8 else 2)
