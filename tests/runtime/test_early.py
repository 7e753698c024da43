"""The face network opened ahead of need: where that is cheap, and what becomes of what goes wrong."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

import pytest

from restorer.errors import DeviceError, UsageError
from restorer.options import RestoreOptions
from restorer.pipeline.networks import OpenedNetworks
from restorer.runtime import open_engine
from restorer.runtime.early import begin_to_open
from restorer.runtime.openvino_library import openvino_at_hand
from restorer.weights import WeightStore

pytestmark = pytest.mark.skipif(not openvino_at_hand(), reason="OpenVINO is not installed")
OPTIONS = RestoreOptions(model="lite", device="cpu", precision="fp32", offline=True)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightStore:
    """A store with a cache of its own, still empty."""
    monkeypatch.setenv("RESTORER_CACHE", str(tmp_path))
    return WeightStore(offline=True)


def test_only_a_converted_network_is_opened_early_and_it_is_the_same(store: WeightStore) -> None:
    assert begin_to_open(store, OPTIONS) is None  # conversion takes long, and there may be no face
    later = open_engine(store.face_model("lite"), device="cpu", precision="fp32")
    early = begin_to_open(store, OPTIONS)
    assert early is not None
    networks = OpenedNetworks(OPTIONS, store=store, early=early)
    networks.expect_faces()  # nothing is begun twice
    assert networks.face_restorer().engine is early.result()
    assert early.result().describe() == later.describe()


def test_it_keeps_quiet_about_what_cannot_be_and_tells_what_went_wrong_when_asked(store: WeightStore) -> None:
    assert begin_to_open(store, RestoreOptions(model="lite", device="cuda:0,1", offline=True)) is None
    broken: Future[object] = Future()
    broken.set_exception(DeviceError("no"))
    networks = OpenedNetworks(OPTIONS, store=store, early=broken)  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match="no"):
        networks.face_restorer()
    with pytest.raises(UsageError):
        OpenedNetworks(RestoreOptions(model="nobody"), store=store)
