"""`ouro status`, `irm status`: what the IRMd holds, as its RIB has it."""

import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from ..model.errors import IrmdError, OuroError
from ..model.irm_requests import ListIpcps, RibRead
from .session import NO_IRMD, Session

__all__ = ["run"]

_WIDTH: Final = 80


def run(words: Sequence[str]) -> int:
    """Show it; returns the exit status."""
    if any(word != "--json" for word in words):
        print("Usage: ouro status [--json]")
        return 0 if words[0] in ("-h", "--help", "help") else 1
    session = Session("ouro", bool(words))
    try:
        found = _collect(session)
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


def _collect(session: Session) -> dict[str, Any]:
    ipcps = session.call(ListIpcps()).ipcps
    return {
        **json.loads(session.call(RibRead("irm/status")).json),
        "types": dict(Counter(ipcp.type for ipcp in ipcps)),
        "layers": sorted({ipcp.layer.name for ipcp in ipcps if ipcp.layer}),
        "pools": _pools(json.loads(session.call(RibRead("packets")).json)),
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
