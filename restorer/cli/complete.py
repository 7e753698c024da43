"""What a shell completes where click knows no better: files, face models, weight files, devices."""

from __future__ import annotations

import os

import click
from click.shell_completion import CompletionItem

Items = list[CompletionItem]


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Leave it to the shell, which completes names of files and folders."""
    return [CompletionItem(incomplete, type="file")]


def face_models(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete the names that ``--model`` takes, or else files."""
    from restorer.weights.table import read_table

    names = ["auto", *(name for name, row in read_table().items() if row.kind == "face")]
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return found if found and os.sep not in incomplete else files(ctx, param, incomplete)


def weight_files(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete names of the table that are not on the command line yet, with what each is for."""
    from restorer.weights.table import read_table

    given = ctx.params.get(param.name or "") or ()
    rows = [row for row in read_table().values() if row.name.startswith(incomplete) and row.name not in given]
    return [CompletionItem(row.name, help=row.kind) for row in rows]


def devices(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete the kinds of devices."""
    return [CompletionItem(name) for name in ("auto", "cpu", "cuda", "intel", "mps") if name.startswith(incomplete)]
