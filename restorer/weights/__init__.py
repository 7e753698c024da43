"""Weight files: one table, where they are searched, how they are downloaded and checked; loads no torch."""

from __future__ import annotations

from restorer.weights.folders import bundled_folder, default_download_folder, user_cache
from restorer.weights.partial import Progress
from restorer.weights.store import FileState, Weights, WeightStore
from restorer.weights.table import Kind, WeightFile, read_table

__all__ = [
    "FileState",
    "Kind",
    "Progress",
    "WeightFile",
    "WeightStore",
    "Weights",
    "bundled_folder",
    "default_download_folder",
    "read_table",
    "user_cache",
]
