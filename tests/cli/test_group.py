from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from restorer.cli.group import COMMANDS, group


def test_help_lists_every_command() -> None:
    result = CliRunner().invoke(group, ["--help"])
    assert result.exit_code == 0
    for name, (_, _, line) in COMMANDS.items():
        assert f"  {name} " in result.stdout and line in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = CliRunner().invoke(group, [name, "--help"])
    assert result.exit_code == 0 and f"restorer {name}" in result.stdout


def test_unknown_command() -> None:
    result = CliRunner().invoke(group, ["nonsense"])
    assert result.exit_code == 2 and "No such command 'nonsense'" in result.stderr


def test_errors_of_commands_end_in_a_sentence_and_a_code() -> None:
    result = CliRunner().invoke(group, ["weights", "path", "nonsense"], prog_name="restorer")
    assert result.exit_code == 2 and result.stderr.startswith("restorer: nonsense is no")


def test_completion_imports_no_command() -> None:
    items = group.shell_complete(click.Context(group), "we")
    assert [(item.value, item.help) for item in items] == [("weights", COMMANDS["weights"][2])]
