"""Where an IRMd keeps its socket: one runtime directory is one host of the network."""

import os
from pathlib import Path

__all__ = ["irm_socket", "runtime_dir"]


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
    return Path(session) / "ouroboros" if session else Path(f"/tmp/ouroboros-{os.geteuid()}")


def irm_socket() -> Path:
    """The socket of the IRMd of `runtime_dir`."""
    return runtime_dir() / "irm.sock"
