"""`ouro status`, `irm status`: what the IRMd holds, as its RIB has it."""

import json
import textwrap
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from ..model.errors import FlowTimeout, IrmdError, OuroError
from ..model.irm_requests import ListIpcps
from .session import NO_IRMD, Session

__all__ = ["run"]

_WIDTH: Final = 80
_PATIENCE: Final = 10.0
"""Seconds that `--wait` waits at most: a daemon takes half a second, and several on a busy machine."""


def run(words: Sequence[str]) -> int:
    """Show it; returns the exit status."""
    if any(word not in ("--wait", "--json") for word in words):
        print("Usage: ouro status [--wait] [--json]")
        return 0 if words[0] in ("-h", "--help", "help") else 1
    session = Session("ouro", "--json" in words)
    try:
        found = _awaited(session) if "--wait" in words else _collect(session)
    except OuroError as e:
        if isinstance(e, IrmdError):
            session.say(NO_IRMD)
        session.explain(str(e))
        if session.json:
            session.result({"error": str(e), "code": e.code})
        return 1
    finally:
        session.close()
    print(json.dumps(found, indent=2) if session.json else _text(found))
    return 0


def _awaited(session: Session) -> dict[str, Any]:
    """It, once the IRMd answers and has done what its configuration file says."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            found = _collect(session)
        except IrmdError:
            session.close()
            if time.monotonic() > deadline:
                raise
        else:
            if found["configured"]:
                return found
            if time.monotonic() > deadline:
                raise FlowTimeout(f"the IRMd has not done what its configuration file says within {_PATIENCE:g} s")
        time.sleep(0.05)


def _collect(session: Session) -> dict[str, Any]:
    ipcps = session.call(ListIpcps()).ipcps
    return {
        **session.rib("irm/status"),
        "types": dict(Counter(ipcp.type for ipcp in ipcps)),
        "layers": sorted({ipcp.layer.name for ipcp in ipcps if ipcp.layer}),
        "pools": _pools(session.rib("packets")),
    }


def _pools(counters: dict[str, int]) -> dict[str, dict[str, dict[str, int]]]:
    """User -> size of blocks -> total, used, failed; from counters `pool.<uid>.<size>.<what>`."""
    pools: dict[str, dict[str, dict[str, int]]] = {}
    for name, value in counters.items():
        match name.split("."):
            case ["pool", uid, size, what]:
                pools.setdefault(uid, {}).setdefault(size, {})[what] = value
    return pools


def _text(found: dict[str, Any]) -> str:
    types = ", ".join(f"{number} {word}" for word, number in found["types"].items())
    rows = [
        ("processes", found["processes"], f"{found['programs_started']} started by the IRMd so far"),
        ("ipcps", found["ipcps"], types),
        ("layers", len(found["layers"]), ", ".join(found["layers"])),
        ("names", found["names"], ""),
        ("flows", found["flows"], f"{found['flows_allocated']} allocated, {found['flows_refused']} refused so far"),
        ("blocks", found["blocks"], "in use"),
    ]
    lines = [f"IRMd {found['version']}, pid {found['pid']}, up {found['uptime']:.0f} s, packets by {found['packets']}"]
    if not found["configured"]:
        lines[0] += ", still being configured"
    lines += [f"{what:<10} {count:>6}  {detail}".rstrip() for what, count, detail in rows]
    for uid, classes in found["pools"].items():
        # blanks that do not break a line within a class
        usage = ", ".join(f"{size}\xa0B\xa0{c.get('used', 0)}/{c.get('total', 0)}" for size, c in classes.items())
        head = f"{'pool':<10} {'shared' if uid == '0' else uid:>6}  "
        wrapped = textwrap.wrap(usage, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head))
        lines += [line.replace("\xa0", " ") for line in wrapped]
    return "\n".join(lines)
