"""A run's saved state: written whole or not at all, read with care, and taken up only by the settings it belongs to."""

from __future__ import annotations

import os
import pickle
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from restorer.errors import OutputError, UsageError, WeightsError
from restorer.training.settings import build, given

STATE = "state.pt"
SIGNS = {"restoration": "generator", "detector": "averaged"}
"""A part that tells the kind of a run in states of version 0.1, which do not name it."""


def save_state(run: Path, state: Mapping[str, Any]) -> None:
    """Write a state whole or not at all; the one before stays until the new one is on the disk.

    Raises:
        OutputError: It cannot be written, as on a full disk.
    """
    part = run / (STATE + ".part")
    try:
        torch.save(dict(state), part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(run / STATE)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise OutputError(
            f"The training state cannot be saved in {run} ({reason}): the state before is untouched; free some space "
            "and start the run again."
        ) from error
    finally:
        part.unlink(missing_ok=True)


def load_state(run: Path, kind: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a run's state.

    Args:
        run: The run's folder.
        kind: What it must have trained: ``restoration``, ``detector`` or ``prior``.
        device: Where its tensors shall live.

    Raises:
        UsageError: The folder holds no state, or one of another kind.
        WeightsError: The state is damaged.
    """
    path = run / STATE
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        found = state.get("kind") or next(name for name, sign in SIGNS.items() if sign in state)
    except FileNotFoundError as error:
        raise UsageError(f"{run} holds no training state ({STATE}): give a run's folder.") from error
    except OSError as error:
        raise WeightsError(f"The training state {path} cannot be read: {error.strerror or error}.") from error
    except (RuntimeError, EOFError, pickle.UnpicklingError, LookupError, ValueError, AttributeError) as error:
        raise _damaged(path, error) from error
    except StopIteration:
        raise _damaged(path, "no training of this program wrote it") from None
    if found != kind:
        raise UsageError(f"{run} holds the training of another kind of network ({found}, not {kind}): give its folder.")
    return dict(state)


def _damaged(path: Path, reason: object) -> WeightsError:
    first = str(reason).partition("\n")[0]
    return WeightsError(
        f"The training state {path} is damaged ({first}): put a copy back, or remove it to begin the run anew."
    )


def load_parts(parts: Mapping[str, Any], state: Mapping[str, Any], run: Path) -> None:
    """Give each part (networks, optimisers) its saved state.

    Raises:
        WeightsError: One is missing or does not fit.
    """
    for name, part in parts.items():
        try:
            part.load_state_dict(state[name])
        except (RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
            raise _damaged(run / STATE, f"{name}: {error}") from error


def check_settings(run: Path, saved: Mapping[str, Any], now: Any, free: Collection[str] = ()) -> None:  # noqa: ANN401
    """Refuse to go on with a run under settings that would have led it elsewhere.

    Settings that are younger than the state count as having had their defaults.

    Args:
        run: The run's folder.
        saved: The settings it was started with, as plain values.
        now: Today's settings, a dataclass.
        free: Top-level settings that may differ because they change nothing that has been done.

    Raises:
        UsageError: They differ; the message names each that does.
    """
    before = dict(_flat(asdict(build(type(now), given(saved), f"The saved settings of {run}"))))
    after = dict(_flat(asdict(now)))
    differing = [
        f"{key} was {before.get(key)!r} and is {after.get(key)!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and key.partition(".")[0] not in free
    ]
    if differing:
        raise UsageError(
            f"{run} was started with other settings: {'; '.join(differing)}. Give the same recipe or a new folder."
        )


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + key, value
