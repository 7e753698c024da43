"""A cache of compiled networks for each test of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, this test's own; gives the folder of compiled networks in it."""
    monkeypatch.setenv("RESTORER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "compiled"
