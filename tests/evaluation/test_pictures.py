from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restorer.errors import PhotoError, UsageError
from restorer.evaluation.pictures import check_names, check_sizes, open_pictures


def save(path: Path, size: tuple[int, int] = (8, 6), value: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 20, 30)).save(path)
    return path


def packed(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "faces"
    for name in ("b/2.png", "b/10.png", "a.jpg"):
        save(root / name)
    (root / "manifest.json").write_text("[]")
    (root / ".hidden.png").write_bytes(b"x")
    return root


@pytest.mark.parametrize("zipped", [False, True])
def test_folders_and_archives_hold_the_same(folder: Path, tmp_path: Path, zipped: bool) -> None:
    found = open_pictures(packed(tmp_path / "faces.zip", folder) if zipped else folder)
    assert sorted(found.files) == ["a", "b/10", "b/2"]
    assert [stem for stem in found.files if stem != "a"] == ["b/2", "b/10"]
    assert found.read("b/2").tolist() == [[[90, 20, 30]] * 8] * 6
    assert found.size("b/10") == (8, 6)
    assert found.files["b/2"].endswith("b/2.png") and str(found.path) in found.files["b/2"]


def test_turned_deep_and_profiled_pictures_arrive_upright_8_bit_srgb(tmp_path: Path) -> None:
    from PIL import ImageCms

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (9, 5), (200, 10, 10)).save(tmp_path / "turned.png", exif=exif)
    import cv2

    assert cv2.imwrite(str(tmp_path / "deep.png"), np.full((4, 4, 3), 257 * 77, np.uint16))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (3, 3), (12, 130, 250)).save(tmp_path / "srgb.png", icc_profile=srgb)
    found = open_pictures(tmp_path)
    assert found.read("turned").shape == (9, 5, 3) and found.size("turned") == (5, 9)
    deep = found.read("deep")
    assert deep.dtype == np.uint8 and np.unique(deep).tolist() == [77]
    assert np.abs(found.read("srgb")[0, 0].astype(int) - (12, 130, 250)).max() <= 1


def test_what_is_no_set_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("text")
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    for name in ("missing", "empty", "text.zip", "none.zip"):
        with pytest.raises(PhotoError, match=name):
            open_pictures(tmp_path / name)


def test_names_that_differ_only_in_their_suffix_are_refused(folder: Path) -> None:
    save(folder / "a.png")
    with pytest.raises(UsageError, match=r"a\.(jpg|png) and .*a\.(jpg|png) differ only"):
        open_pictures(folder)


def test_a_broken_picture_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "b/2.png").write_bytes(b"\x89PNG broken")
    for found in (open_pictures(folder), open_pictures(packed(tmp_path / "x.zip", folder))):
        with pytest.raises(PhotoError, match=r"b/2\.png"):
            found.read("b/2")
        assert found.size("b/2") is None


def test_names_must_match(folder: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b/2.webp", "b/10.png"):
        save(tmp_path / "same" / name)
    truth, same = open_pictures(folder), open_pictures(tmp_path / "same")
    assert set(check_names([truth, same])) == {"a", "b/2", "b/10"}  # suffixes may differ
    save(tmp_path / "more" / "extra.png")
    for sets in ([truth, open_pictures(tmp_path / "more")], [open_pictures(tmp_path / "more"), truth]):
        with pytest.raises(UsageError, match=r"has no picture for .*(extra|a)\.(png|jpg)"):
            check_names(sets)


def test_sizes_must_match(folder: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b/2.png", "b/10.png"):
        save(tmp_path / "other" / name, (4, 3) if name == "b/10.png" else (8, 6))
    truth, other = open_pictures(folder), open_pictures(tmp_path / "other")
    stems = check_names([truth, other])
    with pytest.raises(UsageError, match=r"b/10\.png is 4×3 where .*b/10\.png is 8×6"):
        check_sizes(stems, [truth, other], enlarged=None, factor=1)
    check_sizes(stems, [truth, other], enlarged=other, factor=2)
    with pytest.raises(UsageError, match="4×3"):
        check_sizes(stems, [truth, other], enlarged=other, factor=4)
