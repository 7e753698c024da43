"""``restorer weights``: what weight files there are, where they lie, and getting, checking and removing them.

Results are on standard output, everything else on standard error. Errors are raised; the outer group turns them into
messages and exit codes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from restorer.cli import complete
from restorer.cli.boundary import print_result
from restorer.cli.download_bar import DownloadBar
from restorer.errors import WeightsError
from restorer.weights import FileState, Weights, WeightStore

NEEDED = ("gfpgan-1.4", "retinaface-resnet50", "bisenet", "realesrgan", "realesrgan-x4", "realesr-general")
"""What every option of ``restore`` can use; with these on disk it works fully without a network."""

weights_dir_option = click.option(
    "--weights-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder searched first, and where downloads go.  [default: $RESTORER_WEIGHTS, else the per-user cache]",
)


@click.group("weights")
def weights_group() -> None:
    """List, download, check and remove weight files.

    Files are searched in --weights-dir, $RESTORER_WEIGHTS, the per-user cache and the folder of the bundled networks.
    $RESTORER_WEIGHTS_MIRROR may name a web address that is asked first for every download, as ADDRESS/FILE.
    """


@weights_group.command("list", short_help="List all weight files, whether on disk and where.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with addresses and hashes.")
@weights_dir_option
def list_weights(as_json: bool, weights_dir: Path | None) -> None:
    """List all weight files: whether they are on disk, and where.

    "unchecked" files are hashed when they are first used, or by `restorer weights verify`.
    """
    store = WeightStore(weights_dir=weights_dir)
    states = [store.state(name) for name in store.table]
    if as_json:
        for state in states:
            print_result(json.dumps(_as_json(state)))
        return
    lines = [("NAME", "KIND", "SIZE", "STATE", "LICENCE", "PATH"), *(_as_columns(state) for state in states)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print_result("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    click.echo("* with conditions: see `restorer weights list --json`", err=True)


@weights_group.command("get", short_help="Download weight files; print where each lies.")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete.weight_files)
@click.option("--all-needed", is_flag=True, help=f"All that `restore` can use: {', '.join(NEEDED)}.")
@weights_dir_option
@click.option("--offline", is_flag=True, help="Never open a connection.")
def get_weights(names: tuple[str, ...], all_needed: bool, weights_dir: Path | None, offline: bool) -> None:
    """Download weight files that are not on disk yet; print the path of each."""
    if all_needed:
        names = tuple(dict.fromkeys((*names, *NEEDED)))
    if not names:
        raise click.UsageError("Name the weight files to get, or give --all-needed.")
    with _store(weights_dir, offline) as store:
        _each(store, names, lambda name: print_result(store.get(name).path))


@weights_group.command("verify", short_help="Hash weight files anew and compare.")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete.weight_files)
@weights_dir_option
def verify_weights(names: tuple[str, ...], weights_dir: Path | None) -> None:
    """Hash weight files anew and compare; all that are on disk if none is named."""
    with _store(weights_dir, offline=True) as store:
        present = names or tuple(name for name in store.table if store.locate(name) is not None)
        _each(store, present, lambda name: print_result(_verified(store.verify(name))))


@weights_group.command("path", short_help="Print where a weight file lies, checked.")
@click.argument("name", shell_complete=complete.weight_files)
@weights_dir_option
def weights_path(name: str, weights_dir: Path | None) -> None:
    """Print where a weight file lies on disk, checked."""
    with _store(weights_dir, offline=True) as store:
        found = store.find(name)
    if found is None:
        raise WeightsError(f"{name} is not on disk: `restorer weights get {name}` downloads it.")
    print_result(found.path)


@weights_group.command("remove", short_help="Delete downloaded weight files.")
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete.weight_files)
@weights_dir_option
def remove_weights(names: tuple[str, ...], weights_dir: Path | None) -> None:
    """Delete downloaded weight files and what is left of broken downloads; print what was deleted."""
    with _store(weights_dir, offline=True) as store:
        _each(store, names, lambda name: _remove(store, name))


def _remove(store: WeightStore, name: str) -> None:
    removed = store.remove(name)
    for path in removed:
        print_result(path)
    if not removed:
        click.echo(f"{name} is not on disk", err=True)


@contextmanager
def _store(weights_dir: Path | None, offline: bool) -> Iterator[WeightStore]:
    """Give a store that talks, and shows its downloads, on standard error."""
    with DownloadBar() as bar:
        yield WeightStore(
            weights_dir=weights_dir, offline=offline, notify=lambda text: click.echo(text, err=True), progress=bar
        )


def _each(store: WeightStore, names: tuple[str, ...], act: Callable[[str], None]) -> None:
    """Act on every name, whatever becomes of its neighbours; unknown names are refused before anything is done.

    Raises:
        WeightsError: At least one of them failed.
        UsageError: At least one of them is not in the table.
    """
    for name in names:
        store.row(name)
    failures: list[WeightsError] = []
    for name in names:
        try:
            act(name)
        except WeightsError as error:
            failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    if failures:
        for failure in failures:
            click.echo(str(failure), err=True)
        raise WeightsError(f"{len(failures)} of {len(names)} weight files failed, see above.")


def _verified(weights: Weights) -> str:
    stated = weights.row is not None and weights.row.sha256 is not None
    return f"{weights.name}: {'as stated' if stated else 'as first seen'}, SHA-256 {weights.sha256}, {weights.path}"


def _as_json(state: FileState) -> dict[str, object]:
    return {**asdict(state.row), "path": None if state.path is None else str(state.path), "state": state.state}


def _as_columns(state: FileState) -> tuple[str, ...]:
    row = state.row
    licence, _, conditions = row.licence.partition(" (")
    return (
        row.name,
        row.kind,
        _readable(row.size),
        state.state,
        licence + ("*" if conditions else ""),
        str(state.path or "-"),
    )


def _readable(size: int | None) -> str:
    if size is None:
        return "?"
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
