"""Where an IRMd keeps its socket: one runtime directory is one host of the network."""

import os
from pathlib import Path
from typing import Final

from ..model.errors import IrmdError

__all__ = ["anybodys", "irm_socket", "runtime_dir"]

_LONGEST: Final = 107
"""Bytes of the address of a Unix socket."""


def runtime_dir() -> Path:
    """OURO_RUNTIME_DIR, else /run/ouroboros as root, else $XDG_RUNTIME_DIR/ouroboros, else one in /tmp of this
    user's own.
    """
    chosen = os.environ.get("OURO_RUNTIME_DIR")
    if chosen:
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/run/ouroboros")
    session = os.environ.get("XDG_RUNTIME_DIR")
    return Path(session) / "ouroboros" if session else _in_tmp()


def _in_tmp() -> Path:
    return Path(f"/tmp/ouroboros-{os.geteuid()}")


def anybodys(path: Path) -> bool:
    """Whether any user may have made the directory of this socket."""
    return path.parent == _in_tmp()


def irm_socket() -> Path:
    """The socket of the IRMd of `runtime_dir`. IrmdError: no socket can be there."""
    path = runtime_dir() / "irm.sock"
    if len(os.fsencode(path)) > _LONGEST:
        raise IrmdError(f"{path} is longer than the {_LONGEST} bytes of a socket's address; shorten OURO_RUNTIME_DIR")
    return path
