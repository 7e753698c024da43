"""``restorer``: the group of all commands. Each is imported when it is called, so that help waits for none."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NoReturn

import click

from restorer import __version__
from restorer.cli.boundary import boundary, main_of

COMMANDS = {
    "restore": ("restorer.cli.restore", "restore_command", "Restore the faces in photographs."),
    "demo": ("restorer.cli.demo", "demo_command", "Degrade a portrait, restore it, show both."),
    "evaluate": ("restorer.cli.evaluate", "evaluate_command", "Judge restorations by the papers' metrics."),
    "degrade": ("restorer.cli.degrade", "degrade_command", "Damage pictures as training and evaluation do."),
    "weights": ("restorer.cli.weights", "weights_group", "List, download, check and remove weight files."),
    "train": ("restorer.cli.train", "train_group", "Train the networks on faces of your own."),
}
"""Name to module, object in it, and the line that help shows."""


class LazyGroup(click.Group):
    """A group whose commands stand in a table and are imported one by one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module, name, _ = COMMANDS[cmd_name]
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Complete commands' names without importing them."""
        from click.shell_completion import CompletionItem

        names = [CompletionItem(name, help=row[2]) for name, row in COMMANDS.items() if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own
        """Run a command inside the boundary."""
        with boundary(ctx):
            return super().invoke(ctx)


@click.group("restorer", cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="restorer")
def group() -> None:
    """Restore faces in photographs with GFP-GAN, and all that belongs to it.

    `restorer restore` is the same as `restore`.
    """


def main() -> NoReturn:
    """Entry of the ``restorer`` script."""
    main_of(group, "restorer")
