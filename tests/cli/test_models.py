"""Which networks a run takes, the whole way: the command, the store, a local server, small networks of real kinds."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from restorer.cli.restore import restore_command
from restorer.weights import WeightFile
from tests.fakes import detector_of, face_at
from tests.networks_at_hand import compact, randomised, retinaface, save_pth, small_gfpgan
from tests.weights.conftest import Server, server

__all__ = ["server"]  # the fixture

pytestmark = pytest.mark.usefixtures("torch_rng")

FACE, DETECTOR, BACKGROUND = "gfpgan-1.4", "retinaface-resnet50", "realesr-general"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return small networks' files: by the names of the table, what their publishers and this package hold."""
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(1)
    made = {
        FACE: small_gfpgan(64),
        "lite": small_gfpgan(64),
        DETECTOR: retinaface(),
        "detector-lite": retinaface(),
        BACKGROUND: randomised(compact(4)),
    }
    return {name: save_pth(folder / f"{name}.pth", module, "params_ema").read_bytes() for name, module in made.items()}


@pytest.fixture
def world(
    server: Server, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SimpleNamespace]:
    """Publish the official files on the local server, install the bundled ones, and make two photographs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESTORER_BACKEND", "torch")
    monkeypatch.setenv("RESTORER_WEIGHTS", str(tmp_path / "weights"))
    bundled = tmp_path / "bundled"
    bundled.mkdir()
    kinds = {FACE: "face", "lite": "face", BACKGROUND: "upsampler"}
    table = {}
    for name in (
        FACE,
        "gfpgan-1.3",
        "gfpgan-1.2",
        "lite",
        DETECTOR,
        "retinaface-mobilenet0.25",
        "detector-lite",
        "bisenet",
        BACKGROUND,
    ):
        body = files.get(name, b"never asked for")
        own = name in ("lite", "detector-lite")
        if own:
            (bundled / f"{name}.pth").write_bytes(body)
        table[name] = WeightFile(
            name=name,
            file=f"{name}.pth",
            kind=kinds.get(name, "face" if name.startswith("gfpgan") else "detector"),  # type: ignore[arg-type]
            architecture="any",
            urls=() if own else (server.url(f"{name}.pth", body=body),),
            size=len(body),
            sha256=hashlib.sha256(body).hexdigest(),
            confirmed="",
            licence="MIT",
            source="",
            bundled=own,
        )
    monkeypatch.setattr("restorer.weights.store.read_table", lambda: table)
    monkeypatch.setattr("restorer.weights.store.bundled_folder", lambda: bundled)
    rng = np.random.default_rng(3)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(name)
    yield SimpleNamespace(server=server, table=table, weights=tmp_path / "weights")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(restore_command, [*arguments, "--json"], prog_name="restore")


def reports(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def asked(world: SimpleNamespace) -> list[str]:
    return [path for path, _ in world.server.requests]


def test_auto_downloads_once_and_then_takes_what_is_on_disk(world: SimpleNamespace) -> None:
    result = run("a.png", "b.png", "--aligned")
    assert result.exit_code == 0, result.stderr
    model = {"name": FACE, "sha256": world.table[FACE].sha256, "fallback": False}
    assert [report["model"] for report in reports(result)] == [model, model]
    assert asked(world) == [f"/{FACE}.pth"] and (world.weights / f"{FACE}.pth").is_file()
    again = run("a.png", "--aligned", "-o", "again", "--offline")
    assert reports(again)[0]["model"] == model and len(asked(world)) == 1
    assert "bundled" not in result.stderr + again.stderr


@pytest.mark.parametrize("why", ["404", "503", "--offline"])
def test_auto_falls_back_to_the_bundled_network_and_says_so_once(world: SimpleNamespace, why: str) -> None:
    world.server.behaviours[f"/{FACE}.pth"].status = 404 if why == "404" else 503
    result = run("a.png", "b.png", "--aligned", *([why] if why == "--offline" else []))
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("using the bundled network lite in place of gfpgan-1.4") == 1 and why in result.stderr
    model = {"name": "lite", "sha256": world.table["lite"].sha256, "fallback": True}
    assert [report["model"] for report in reports(result)] == [model, model]
    assert len(asked(world)) == (0 if why == "--offline" else 1)


def test_detector_falls_back_alike_and_every_report_says_so(world: SimpleNamespace) -> None:
    result = run("a.png", "b.png", "--offline", "--det-threshold", "0.999999")
    assert result.exit_code == 0, result.stderr
    notice = "using the bundled network detector-lite in place of retinaface-resnet50"
    assert result.stderr.count(notice) == 1
    assert all(notice in report["warnings"][0] for report in reports(result))  # type: ignore[index]


def test_quiet_says_nothing_of_it(world: SimpleNamespace) -> None:
    result = run("a.png", "--aligned", "--offline", "-q")
    assert (result.exit_code, result.stderr) == (0, "") and reports(result)[0]["model"]["fallback"] is True  # type: ignore[index]


def test_after_one_failed_connection_the_run_tries_no_other(
    world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted = []

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                accepted.append(connection)
                connection.close()

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        for name in (FACE, DETECTOR):
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/{name}"
            world.table[name] = dataclasses.replace(world.table[name], urls=(url, world.server.url(f"{name}-mirror")))
        monkeypatch.setattr("restorer.pipeline.networks.Detector", detector_of(face_at(32, 32, 40)))
        result = run("a.png", "b.png")
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)
    assert result.exit_code == 0, result.stderr
    assert "detector-lite in place of" in result.stderr and "network lite in place of" in result.stderr
    assert "an earlier connection failed" in result.stderr
    assert len(accepted) == 1 and asked(world) == []


@pytest.mark.parametrize("where", ["on disk", "downloaded"])
def test_wrong_hash_is_never_a_reason_to_fall_back(world: SimpleNamespace, where: str) -> None:
    wrong = bytes(reversed((world.server.behaviours[f"/{FACE}.pth"]).body))
    if where == "on disk":
        world.weights.mkdir()
        (world.weights / f"{FACE}.pth").write_bytes(wrong)
    world.server.behaviours[f"/{FACE}.pth"].body = wrong
    result = run("a.png", "--aligned")
    assert result.exit_code == 5 and "SHA-256" in result.stderr and "lite" not in result.stderr
    assert reports(result)[0]["status"] == "failed" and not Path("restored").exists()


def test_named_model_is_never_replaced(world: SimpleNamespace) -> None:
    world.server.behaviours[f"/{FACE}.pth"].status = 404
    result = run("a.png", "--aligned", "--model", FACE)
    assert result.exit_code == 5 and "HTTP status 404" in result.stderr and not Path("restored").exists()
    assert reports(run("a.png", "--aligned", "--model", "lite"))[0]["model"]["fallback"] is False  # type: ignore[index]


def test_checkpoint_of_ones_own(world: SimpleNamespace) -> None:
    save_pth(Path("my face.v2.pth"), small_gfpgan(64))
    result = run("a.png", "--aligned", "--model", "my face.v2.pth", "--offline")
    sha256 = hashlib.sha256(Path("my face.v2.pth").read_bytes()).hexdigest()
    assert reports(result)[0]["model"] == {"name": "my face.v2", "sha256": sha256, "fallback": False}


@pytest.mark.parametrize("name", ["detector-lite", BACKGROUND])
def test_checkpoint_of_another_kind(world: SimpleNamespace, files: dict[str, bytes], name: str) -> None:
    Path("other.pth").write_bytes(files[name])
    result = run("a.png", "--aligned", "--model", "other.pth")
    assert result.exit_code == 5 and "where one of kind face is needed" in result.stderr
    assert run("a.png", "--aligned", "--model", name).exit_code == 2


def test_mirror_is_asked_first(
    world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]
) -> None:
    world.server.url(f"inside/{FACE}.pth", body=files[FACE])
    monkeypatch.setenv("RESTORER_WEIGHTS_MIRROR", f"{world.server.address}/inside")
    assert run("a.png", "--aligned").exit_code == 0
    assert asked(world) == [f"/inside/{FACE}.pth"]


def test_folder_named_on_the_command_line(world: SimpleNamespace) -> None:
    assert run("a.png", "--aligned", "--weights-dir", "here").exit_code == 0
    assert Path("here", f"{FACE}.pth").is_file() and not world.weights.exists()


def test_background_is_downloaded_and_never_replaced(world: SimpleNamespace) -> None:
    options = ("a.png", "--det-threshold", "0.999999", "--bg-upsampler", BACKGROUND, "--upscale", "3")
    offline = run(*options, "--offline")
    assert offline.exit_code == 5 and f"restorer weights get {BACKGROUND}" in offline.stderr
    assert not Path("restored").exists()
    result = run(*options)
    (report,) = reports(result)
    assert result.exit_code == 0, result.stderr
    assert (report["bg_upsampler"], report["size_out"], report["status"]) == (BACKGROUND, [192, 192], "unchanged")
