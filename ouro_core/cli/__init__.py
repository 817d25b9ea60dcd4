"""The commands `ouro`, `irm` and `irmd`. Each imports what it needs and nothing else, so that they start at once."""

import os
import signal
import sys

__all__ = ["irm", "irmd", "main"]


def main() -> None:
    """The command `ouro`."""
    _debug()
    from .group import ouro

    ouro(prog_name="ouro")


def irm() -> None:
    """The command `irm`, as the prototype has it (spec: irmd.md 11)."""
    for number in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)  # ends without a word, as programs do
    _debug()
    from .irm import run

    sys.exit(run(sys.argv[1:]))


def irmd() -> None:
    """The command `irmd`: short for `ouro irmd`."""
    from ..irm.daemon import main as daemon

    sys.exit(daemon(sys.argv[1:]))


def _debug() -> None:
    """OURO_DEBUG names components whose protocol debugging goes to standard error, in every command."""
    components = os.environ.get("OURO_DEBUG")
    if components:
        from ..model.log import setup_logging

        setup_logging(debug=components.split(","))
