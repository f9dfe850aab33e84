"""Groups of commands that are imported only when they are used."""

import importlib
from collections.abc import Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from runner.base.errors import unknown
from runner.base.shell import as_typed


class TypedContext(click.Context):
    """A context whose help has its commands as they can be typed here."""

    def get_help(self) -> str:
        """Return the help of its command."""
        return as_typed(super().get_help())


class LazyGroup(click.Group):
    """A group that imports a command only when it is used.

    `table`: by the command's name, its place below `cli.commands` (`module:name`) and its line in
    the overview.
    """

    context_class = TypedContext

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]], **named: Any) -> None:
        super().__init__(*args, **named)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order of the table: first things first."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in self.table:
            return None
        module, name = self.table[cmd_name][0].split(":")
        command: click.Command = getattr(
            importlib.import_module(f"runner.cli.commands.{module}"), name
        )
        command.context_class = TypedContext
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the overview from the table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_) for name, (_, help_) in self.table.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command where one was mistyped."""
        if args and args[0] not in self.table and not args[0].startswith("-"):
            raise unknown("command", args[0], self.table, see=f"{ctx.command_path} --help")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name from the table, without importing anything."""
        names = [
            CompletionItem(name, help=text)
            for name, (_, text) in self.table.items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)


def examples(*lines: str) -> str:
    """Return command lines as the epilog of a command's help, one a line."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
