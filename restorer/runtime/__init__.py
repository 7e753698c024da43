"""Runs networks: which library, device and precision; importing it loads neither torch nor OpenVINO."""

from __future__ import annotations

from restorer.runtime.device import pick_device, pick_precision
from restorer.runtime.engine import Backend, Engine
from restorer.runtime.open import open_engine, opens_from_cache

__all__ = ["Backend", "Engine", "open_engine", "opens_from_cache", "pick_device", "pick_precision"]
