"""Weight file to ready network: safe load, key clean-up, architecture and sizes deduced from names and shapes."""

from __future__ import annotations

from restorer.checkpoints.architectures import Checkpoint
from restorer.checkpoints.loading import load_checkpoint, save_checkpoint

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]
