"""Search order, checks, and what auto takes; a named model is never replaced and a wrong file never passed over."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import restorer.weights
from restorer.errors import DownloadError, ExitCode, UsageError, WeightsError
from restorer.weights import WeightStore, bundled_folder
from tests.weights.conftest import BODY, SHA256, MakeRow, MakeStore, Server


def put(folder: Path, file: str = "net.pth", body: bytes = BODY) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(body)
    return folder / file


def hash_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def test_folders_are_searched_in_order(
    make_row: MakeRow, make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTORER_WEIGHTS", str(tmp_path / "environment"))
    store = make_store(make_row(), weights_dir=tmp_path / "option")
    folders = ("bundled", "cache/weights", "environment", "option")
    assert store.folders == tuple(tmp_path / name for name in reversed(folders))
    assert store.locate("net") is None
    for name in folders:
        path = put(tmp_path / name)
        assert store.locate("net") == path
        assert store.find("net").path == path


def test_downloads_go_to_the_first_named_folder(
    make_row: MakeRow, make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert make_store(make_row()).download_folder == tmp_path / "cache" / "weights"
    monkeypatch.setenv("RESTORER_WEIGHTS", str(tmp_path / "environment"))
    assert make_store(make_row()).download_folder == tmp_path / "environment"
    assert make_store(make_row(), weights_dir=tmp_path / "option").download_folder == tmp_path / "option"


def test_a_download_is_found_by_the_next_run(server: Server, make_row: MakeRow, make_store: MakeStore) -> None:
    row = make_row(server.url("net.pth"))
    got = make_store(row).get("net")
    assert (got.name, got.sha256, got.fallback, got.reason, got.row) == ("net", SHA256, False, None, row)
    assert make_store(row, offline=True).get("net").path == got.path
    assert len(server.requests) == 1


def test_a_fresh_download_is_not_hashed_twice(
    server: Server, make_row: MakeRow, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restorer.weights.hashes.sha256_of", lambda path: pytest.fail(f"{path} was hashed again"))
    store = make_store(make_row(server.url("net.pth")))
    assert store.get("net").sha256 == SHA256
    assert store.state("net").state == "checked"


@pytest.mark.parametrize("body", [BODY[:-1], b"!" + BODY[1:]])
def test_a_wrong_file_on_disk_is_an_error(
    make_row: MakeRow, make_store: MakeStore, tmp_path: Path, body: bytes
) -> None:
    path = put(tmp_path / "cache" / "weights", body=body)
    with pytest.raises(WeightsError, match=r"restorer weights remove net.*restorer weights get net") as caught:
        make_store(make_row()).find("net")
    assert str(path) in str(caught.value)
    assert not isinstance(caught.value, DownloadError)


def test_a_file_damaged_after_its_check_is_noticed(make_row: MakeRow, make_store: MakeStore, tmp_path: Path) -> None:
    path = put(tmp_path / "cache" / "weights")
    make_store(make_row()).find("net")
    path.write_bytes(b"!" + BODY[1:])
    with pytest.raises(WeightsError, match=hash_of(b"!" + BODY[1:])):
        make_store(make_row()).find("net")


def test_a_hash_nobody_states_is_kept_from_the_first_sight(
    make_row: MakeRow, make_store: MakeStore, tmp_path: Path, said: list[str]
) -> None:
    row = make_row(size=None, sha256=None)
    path = put(tmp_path / "cache" / "weights")
    assert make_store(row).find("net").sha256 == SHA256
    assert said == [f"nobody states a checksum for net; noted SHA-256 {SHA256}"]
    path.write_bytes(b"other")
    with pytest.raises(WeightsError, match=SHA256):
        make_store(row).find("net")


def test_offline_opens_no_connection(server: Server, make_row: MakeRow, make_store: MakeStore) -> None:
    with pytest.raises(DownloadError, match=r"--offline forbids .*restorer weights get net") as caught:
        make_store(make_row(server.url("net.pth")), offline=True).get("net")
    assert caught.value.exit_code == ExitCode.WEIGHTS
    assert server.requests == []


def test_an_unknown_name_lists_the_known_ones(make_row: MakeRow, make_store: MakeStore) -> None:
    store = make_store(make_row(name="a"), make_row(name="b", kind="upsampler"))
    with pytest.raises(UsageError, match="choose one of a, b"):
        store.get("nothing")
    with pytest.raises(UsageError, match=r"b is no face network in the table: choose one of a\."):
        store.face_model("b")
    with pytest.raises(UsageError, match=r"choose one of b\."):
        store.background("a")


class TestAuto:
    """What ``auto`` takes for the face model; the detector goes the same way."""

    @pytest.fixture
    def rows(self, make_row: MakeRow, server: Server) -> list:
        official = [
            make_row(server.url(f"{name}.pth"), name=name) for name in ("gfpgan-1.4", "gfpgan-1.3", "gfpgan-1.2")
        ]
        return [*official, make_row(name="lite", file="lite.safetensors", bundled=True)]

    def test_the_best_official_one_on_disk(
        self, rows: list, make_store: MakeStore, tmp_path: Path, server: Server
    ) -> None:
        for name in ("gfpgan-1.2", "gfpgan-1.3", "gfpgan-1.4"):
            put(tmp_path / "cache" / "weights", f"{name}.pth")
            assert make_store(*rows).face_model().name == name
        assert server.requests == []

    def test_else_the_best_is_downloaded(self, rows: list, make_store: MakeStore, said: list[str]) -> None:
        got = make_store(*rows).face_model("auto")
        assert (got.name, got.fallback) == ("gfpgan-1.4", False)
        assert said == []

    @pytest.mark.parametrize("offline", [True, False])
    def test_else_the_bundled_one_and_it_says_so_once(
        self, rows: list, make_store: MakeStore, tmp_path: Path, server: Server, said: list[str], offline: bool
    ) -> None:
        put(tmp_path / "bundled", "lite.safetensors")
        server.behaviours["/gfpgan-1.4.pth"].status = 503
        store = make_store(*rows, offline=offline)
        for _ in range(2):
            got = store.face_model()
            assert (got.name, got.sha256, got.fallback) == ("lite", SHA256, True)
            assert ("--offline" if offline else "HTTP status 503") in got.reason
        assert len(said) == 1
        assert said[0].startswith("using the bundled network lite in place of gfpgan-1.4: ")

    def test_also_where_the_download_cannot_be_stored(
        self, rows: list, make_store: MakeStore, tmp_path: Path, server: Server
    ) -> None:
        put(tmp_path / "bundled", "lite.safetensors")
        (tmp_path / "file").touch()
        got = make_store(*rows, weights_dir=tmp_path / "file").face_model()
        assert got.fallback and "cannot be stored" in got.reason

    def test_a_wrong_hash_is_never_a_reason_to_fall_back(
        self, rows: list, make_store: MakeStore, tmp_path: Path, server: Server
    ) -> None:
        put(tmp_path / "bundled", "lite.safetensors")
        server.behaviours["/gfpgan-1.4.pth"].body = b"!" * len(BODY)
        with pytest.raises(WeightsError, match="SHA-256"):
            make_store(*rows).face_model()
        put(tmp_path / "cache" / "weights", "gfpgan-1.4.pth", b"!" * len(BODY))
        with pytest.raises(WeightsError, match="SHA-256"):
            make_store(*rows, offline=True).face_model()

    def test_a_named_model_is_never_replaced(
        self, rows: list, make_store: MakeStore, tmp_path: Path, server: Server
    ) -> None:
        put(tmp_path / "bundled", "lite.safetensors")
        put(tmp_path / "cache" / "weights", "gfpgan-1.4.pth")
        server.behaviours["/gfpgan-1.3.pth"].status = 404
        with pytest.raises(DownloadError, match=r"gfpgan-1\.3 cannot be downloaded"):
            make_store(*rows).face_model("gfpgan-1.3")
        got = make_store(*rows).face_model("lite")
        assert (got.name, got.fallback) == ("lite", False)

    def test_no_bundled_file_tells_both_reasons(self, rows: list, make_store: MakeStore) -> None:
        with pytest.raises(WeightsError, match=r"lite should be at .* Before that: gfpgan-1\.4 is not on disk"):
            make_store(*rows, offline=True).face_model()

    def test_remembered_is_what_needs_no_hashing_no_connection_and_no_stand_in(
        self, rows: list, make_store: MakeStore, server: Server, said: list[str], tmp_path: Path
    ) -> None:
        store = make_store(*rows)
        named = put(tmp_path, "mine.safetensors")
        assert store.remembered_face_model() is None
        assert store.remembered_face_model(str(named)) is None
        assert (server.requests, said) == ([], [])
        got, mine = store.face_model(), store.face_model(str(named))
        again = make_store_again(store)
        assert (again.remembered_face_model(), again.remembered_face_model(str(named))) == (got, mine)
        got.path.write_bytes(BODY + b"changed")
        assert again.remembered_face_model() is None, "what has changed since is looked at first"

    def test_the_detector_goes_the_same_way(
        self, make_row: MakeRow, make_store: MakeStore, tmp_path: Path, server: Server
    ) -> None:
        names = ("retinaface-resnet50", "retinaface-mobilenet0.25")
        rows = [make_row(server.url(f"{name}.pth"), name=name, kind="detector") for name in names]
        rows.append(make_row(name="detector-lite", file="detector-lite.safetensors", kind="detector", bundled=True))
        put(tmp_path / "bundled", "detector-lite.safetensors")
        assert make_store(*rows, offline=True).detector().name == "detector-lite"
        put(tmp_path / "cache" / "weights", "retinaface-mobilenet0.25.pth")
        assert make_store(*rows, offline=True).detector().name == "retinaface-mobilenet0.25"
        assert make_store(*rows).detector("retinaface-resnet50").name == "retinaface-resnet50"


def test_the_parser_is_taken_only_from_disk(
    server: Server, make_row: MakeRow, make_store: MakeStore, tmp_path: Path
) -> None:
    row = make_row(server.url("bisenet.pth"), name="bisenet", kind="parser")
    assert make_store(row).parser() is None
    assert server.requests == []
    put(tmp_path / "cache" / "weights", "bisenet.pth")
    assert make_store(row).parser().sha256 == SHA256


def test_a_model_named_by_path(make_row: MakeRow, make_store: MakeStore, tmp_path: Path) -> None:
    path = put(tmp_path / "mine", "my.model.pth", b"anything")
    got = make_store(make_row()).face_model(str(path))
    assert (got.name, got.path, got.sha256, got.row) == ("my.model", path, hash_of(b"anything"), None)
    assert make_store(make_row()).detector(str(path)).path == path


@pytest.mark.parametrize(
    ("model", "why"), [("absent.pth", "does not exist"), (".", "is a folder"), ("a/b", "does not exist")]
)
def test_a_path_to_no_file(make_row: MakeRow, make_store: MakeStore, model: str, why: str) -> None:
    with pytest.raises(WeightsError, match=why):
        make_store(make_row()).face_model(model)


def test_a_name_in_the_table_wins_over_a_file_of_that_name(
    make_row: MakeRow, make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net").write_bytes(b"something else")
    put(tmp_path / "cache" / "weights")
    assert make_store(make_row()).face_model("net").sha256 == SHA256


def test_a_bundled_file_is_taken_from_nowhere_else(make_row: MakeRow, make_store: MakeStore, tmp_path: Path) -> None:
    put(tmp_path / "cache" / "weights", "lite.safetensors")
    with pytest.raises(WeightsError, match="install again"):
        make_store(make_row(name="lite", file="lite.safetensors", bundled=True)).get("lite")


def test_states_are_told_without_reading(make_row: MakeRow, make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store(make_row())
    assert store.state("net").state == "absent"
    path = put(tmp_path / "cache" / "weights", body=b"short")
    assert (store.state("net").path, store.state("net").state) == (path, "wrong")
    put(tmp_path / "cache" / "weights")
    assert store.state("net").state == "unchecked"
    store.find("net")
    assert store.state("net").state == "checked"


def test_a_damaged_note_is_a_state_too(make_row: MakeRow, make_store: MakeStore, tmp_path: Path) -> None:
    put(tmp_path / "cache" / "weights")
    put(tmp_path / "cache" / "weights", "net.pth.sha256", b"?")
    store = make_store(make_row(sha256=None))
    assert store.state("net").state == "wrong"
    with pytest.raises(WeightsError, match="delete it"):
        store.find("net")


def test_a_folder_that_may_not_be_entered_holds_nothing(
    make_row: MakeRow, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "is_file", refuse)
    assert make_store(make_row()).locate("net") is None


def test_verify_reads_the_file_whatever_is_remembered(make_row: MakeRow, make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store(make_row())
    with pytest.raises(WeightsError, match="not on disk"):
        store.verify("net")
    path = put(tmp_path / "cache" / "weights")
    store.find("net")
    memory = tmp_path / "cache" / "weights-checked.json"
    path.write_bytes(b"!" + BODY[1:])
    status = path.stat()
    stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, SHA256]
    memory.write_text(json.dumps({str(path): stamp}))  # a disk that rots changes no time stamp
    assert make_store_again(store).find("net").sha256 == SHA256
    with pytest.raises(WeightsError, match=hash_of(b"!" + BODY[1:])):
        store.verify("net")


def make_store_again(store: WeightStore) -> WeightStore:
    return WeightStore(table=store.table)


def test_remove_takes_everything_of_a_download(make_row: MakeRow, make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store(make_row())
    folder = tmp_path / "cache" / "weights"
    files = [put(folder, name) for name in ("net.pth", "net.pth.sha256", "net.pth.part", "net.pth.part.json")]
    other = put(folder, "other.pth")
    assert store.remove("net") == tuple(files)
    assert list(folder.iterdir()) == [other]
    assert store.remove("net") == ()


def test_remove_leaves_what_is_not_its_own(make_row: MakeRow, make_store: MakeStore, tmp_path: Path) -> None:
    path = put(tmp_path / "cache" / "weights")
    bundled = put(tmp_path / "bundled", "lite.safetensors")
    store = make_store(
        make_row(), make_row(name="lite", file="lite.safetensors", bundled=True), weights_dir=tmp_path / "option"
    )
    with pytest.raises(WeightsError, match="not in the download folder"):
        store.remove("net")
    with pytest.raises(WeightsError, match="part of the installation"):
        store.remove("lite")
    assert path.is_file() and bundled.is_file()


def test_the_bundled_folder_is_beside_the_package_or_inside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (bundled_folder() / "manifest.json").is_file()
    monkeypatch.setattr("restorer.weights.folders.__file__", str(tmp_path / "restorer" / "weights" / "folders.py"))
    assert bundled_folder() == tmp_path / "weights"
    (tmp_path / "restorer" / "_bundled").mkdir(parents=True)
    assert bundled_folder() == tmp_path / "restorer" / "_bundled"


def test_weights_load_no_torch() -> None:
    code = (
        "import sys, restorer.weights as w; w.read_table(); sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(restorer.weights.__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", code], env=env, timeout=30).returncode == 0
