"""Where weight files lie: the bundled folder, the per-user cache and the folder named in the environment."""

from __future__ import annotations

import os
from pathlib import Path

WEIGHTS_VARIABLE = "RESTORER_WEIGHTS"
"""Environment variable: a folder searched after ``--weights-dir``, and where downloads go without that option."""

MIRROR_VARIABLE = "RESTORER_WEIGHTS_MIRROR"
"""Environment variable: an http(s) address asked first for every download, as ``ADDRESS/<file>``."""

CACHE_VARIABLE = "RESTORER_CACHE"
"""Environment variable: a folder used in place of the per-user cache folder."""


def bundled_folder() -> Path:
    """Return the folder of the manifest and the bundled networks.

    A wheel carries it inside the package; a checkout or an editable install has it beside the package.
    """
    package = Path(__file__).resolve().parents[1]
    installed = package / "_bundled"
    return installed if installed.is_dir() else package.parent / "weights"


def user_cache() -> Path:
    """Return this program's per-user cache folder; it need not exist yet."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    try:
        import platformdirs
    except ImportError:  # a plain PyTorch image, on which the networks run all the same
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "restorer")
    return Path(platformdirs.user_cache_dir("restorer", appauthor=False))


def environment_folder() -> Path | None:
    """Return the folder named in ``$RESTORER_WEIGHTS``, if any."""
    named = os.environ.get(WEIGHTS_VARIABLE)
    return Path(named) if named else None


def default_download_folder() -> Path:
    """Return where downloads go when no folder is named on the command line."""
    return environment_folder() or user_cache() / "weights"
