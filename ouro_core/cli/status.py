"""`ouro status`, `irm status`: what the IRMd holds, counted in its RIB and its lists."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from .. import __version__
from ..model.errors import IrmdError, NotFound, OuroError
from ..model.irm_requests import ListFlows, ListIpcps, ListNames, RibRead
from .session import NO_IRMD, Session

__all__ = ["run"]


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
    if session.json:
        print(json.dumps(found, indent=2))
    else:
        _show(found)
    return 0


def _collect(session: Session) -> dict[str, Any]:
    ipcps = session.call(ListIpcps()).ipcps
    flows = session.call(ListFlows()).flows
    return {
        "version": __version__,
        "processes": _children(session, "processes"),
        "names": len(session.call(ListNames()).names),
        "flows": {"total": len(flows), "states": dict(Counter(flow.state.name for flow in flows))},
        "ipcps": {"total": len(ipcps), "types": dict(Counter(ipcp.type for ipcp in ipcps))},
        "layers": sorted({ipcp.layer.name for ipcp in ipcps if ipcp.layer}),
        "pools": _read(session, "pools"),
    }


def _read(session: Session, path: str) -> Any:
    """What the RIB has at a path; nothing when there is none of it."""
    try:
        return json.loads(session.call(RibRead(path)).json)
    except NotFound:
        return {}


def _children(session: Session, path: str) -> int:
    return len(_read(session, path))


def _show(found: dict[str, Any]) -> None:
    flows, ipcps = found["flows"], found["ipcps"]
    rows = [
        ("processes", found["processes"], ""),
        ("names", found["names"], ""),
        ("flows", flows["total"], _detail(flows["states"])),
        ("ipcps", ipcps["total"], _detail(ipcps["types"])),
        ("layers", len(found["layers"]), ", ".join(found["layers"])),
    ]
    for what, count, detail in rows:
        print(f"{what:<10} {count:>6}  {detail}".rstrip())
    for pool, counters in found["pools"].items():
        print(f"{'pool':<10} {pool}  {_detail(counters)}".rstrip())
    sys.stdout.flush()


def _detail(counts: Any) -> str:
    """`2 local, 1 udp4`: what there is more than none of."""
    if not isinstance(counts, dict):
        return str(counts)
    return ", ".join(f"{number} {word.lower()}" for word, number in counts.items() if number)
