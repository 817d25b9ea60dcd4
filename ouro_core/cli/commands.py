"""What all commands that are made with click have in common."""

from typing import Any

import click

from ..model.errors import OuroError
from .keywords import meant

__all__ = ["Failed", "Group", "json_option"]

json_option = click.option("--json", "as_json", is_flag=True, help="As JSON.")


class Failed(click.ClickException):
    """An `OuroError` that ends a command."""

    def __init__(self, why: OuroError) -> None:
        super().__init__(str(why))
        self.code = why.code


class Group(click.Group):
    """A group of commands. What is nearly one of them is told which; an `OuroError` is a failed command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as e:
            raise click.UsageError(e.message + meant(args[0], self.list_commands(ctx)), e.ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OuroError as e:
            raise Failed(e) from None
