"""The command `ouro`: a click group that imports a command only when it is called.

Plugins add commands with an entry point of the group `ouro.commands` (name -> click command). `ouro --help` shows
these by their distributions' metadata; a command that cannot be imported fails alone.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

from .. import __version__
from .asjson import json_last, print_failure, take_json
from .commands import Group

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["ouro"]

_ENTRY_POINTS: Final = "ouro.commands"

_COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "irmd": ("irmd", "Run the IPC resource manager daemon."),
    "ipcp": ("irm", "Make, configure, connect and list IPCPs."),
    "name": ("irm", "Make, register and list names."),
    "bind": ("irm", "Let programs, processes and IPCPs accept flows for names."),
    "unbind": ("irm", "The reverse of bind."),
    "irm": ("irm", "ipcp, name, bind, unbind and status, abbreviated as in the prototype."),
    "status": ("status", "What the IRMd holds: processes, flows, IPCPs, pools."),
    "pki": ("pki", "An authority of one's own, and certificates for names."),
    "rib": ("rib", "Look into the state of the IRMd and its IPCPs."),
    "crypto": ("crypto", "Which algorithms there are for encryption and authentication."),
    "plugins": ("plugins", "What is installed, and what is wrong with it."),
    "demo": ("demo", "Two processes, one layer, a flow: see it work."),
    "version": ("version", "Versions of Ouro and of what it runs on."),
}
"""Command -> module here and short help, so that `--help` imports none of them."""


class _Words(click.Command):
    """A command that gets its words as they are: it has a grammar, or a parser, of its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.args = args
        return args

    def invoke(self, ctx: click.Context) -> None:
        words = ctx.args
        if self.name == "irmd":
            from ..irm.daemon import main

            sys.exit(main(words, "ouro irmd"))
        if self.name == "status":
            from .status import run as status

            sys.exit(status(words))
        from .irm import menu, run

        assert self.name is not None
        if self.name == "irm":
            sys.exit(run(words, "ouro irm"))
        from .session import run_menu

        sys.exit(run_menu(menu(self.name), words, "ouro"))


class _Lazy(Group):
    def main(  # type: ignore[override]  # there are two overloads
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        """As all groups; with `--json`, which may stand in front of our commands too, failures are JSON as well."""
        given = list(sys.argv[1:] if args is None else args)
        words, as_json = take_json(given)
        theirs = bool(words) and words[0] not in _COMMANDS and words[0] in self._installed
        if not as_json or theirs or not extra.get("standalone_mode", True):
            return super().main(given, prog_name, **extra)
        try:
            status = super().main(json_last(given), prog_name, **{**extra, "standalone_mode": False})
        except click.Abort:
            print_failure("interrupted")
            sys.exit(1)
        except click.ClickException as e:
            e.show()
            print_failure(e.format_message(), getattr(e, "code", -1))
            sys.exit(e.exit_code)
        sys.exit(status if isinstance(status, int) else 0)

    @cached_property
    def _installed(self) -> "dict[str, EntryPoint]":
        """Commands of plugins. Ours, and the first of two with one name, win."""
        from importlib.metadata import entry_points

        found: dict[str, EntryPoint] = {}
        for entry in entry_points(group=_ENTRY_POINTS):
            if entry.name not in _COMMANDS:
                found.setdefault(entry.name, entry)
        return found

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_COMMANDS, *sorted(self._installed)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            entry = self._installed.get(cmd_name)
            return None if entry is None else _load(entry)
        module, short = _COMMANDS[cmd_name]
        if module in ("irmd", "irm", "status"):
            return _Words(cmd_name, short_help=short)
        command: click.Command = getattr(import_module(f".{module}", __package__), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, short) for name, (_, short) in _COMMANDS.items()])
        if self._installed:
            with formatter.section("Commands of plugins"):
                formatter.write_dl([(name, _origin(self._installed[name])) for name in sorted(self._installed)])


def _origin(entry: "EntryPoint") -> str:
    return f"from {entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def _load(entry: "EntryPoint") -> click.Command:
    """The command of a plugin. ClickException: it cannot be imported, or is none."""
    try:
        command = entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as e:  # whatever a plugin does while it is imported, SystemExit included
        why = f"{type(e).__name__}: {e}"
        raise click.ClickException(f'the command "{entry.name}" ({_origin(entry)}) is broken: {why}') from e
    if not isinstance(command, click.Command):
        raise click.ClickException(
            f'the command "{entry.name}" ({_origin(entry)}) is broken: {entry.value} is no click command'
        )
    return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ouro")
def ouro() -> None:
    """Ouro: the Ouroboros recursive packet network.

    A first look: ouro demo. A network: ouro irmd, then ouro ipcp and ouro name.
    """
