"""What this distribution adds to the command `ouro`."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import click

__all__ = ["ssm"]

_ROW = "{:>9} {:>5} {:>8} {:>8} {:>8} {:>8}  {}"


@click.group()
def ssm() -> None:
    """Look into shared memory."""


@ssm.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def stat(as_json: bool) -> None:
    """Blocks of each pool, class and shard: free ones, those that moved between shards, and whose the others are.

    A block is counted in the shard from which it was allocated last. STOLEN were taken by clients of the shard from
    another one, MIGRATED came to it by being freed after that.
    """
    from ouro_core.cli.session import Session
    from ouro_core.model.errors import OuroError
    from ouro_core.model.irm_requests import RibRead

    session = Session("ouro", as_json)
    try:
        pools, processes, ipcps = (
            json.loads(session.call(RibRead(path)).json) for path in ("pools", "processes", "ipcps")
        )
    except OuroError as e:
        if as_json:
            print(json.dumps({"error": str(e), "code": e.code}))
        print(e, file=sys.stderr)
        sys.exit(1)
    finally:
        session.close()
    _name_owners(pools, processes, ipcps)
    print(json.dumps(pools, indent=2) if as_json else "\n".join(_text(pools)))


def _name_owners(pools: dict[str, Any], processes: dict[str, Any], ipcps: dict[str, Any]) -> None:
    """Adds `pid` and `program` of the client that has the blocks or wrote them; an IPCP's program is its name."""
    known = {p["client"]: {"pid": int(pid), "program": p["program"]} for pid, p in processes.items()}
    known |= {i["id"]: {"pid": i["pid"], "program": f"ipcp {name}"} for name, i in ipcps.items() if "id" in i}
    for pool in pools.values():
        for each in pool["classes"]:
            for owner in each["owners"]:
                ring = owner["ring"]
                owner |= known.get(ring["writer"] if ring else owner["client"], {})


def _text(pools: dict[str, Any]) -> Iterator[str]:
    for uid, pool in pools.items():
        yield f"pool {'shared' if uid == '0' else f'of user {uid}'}: {pool['bytes'] / 2**20:.1f} MiB"
        yield _ROW.format("class", "shard", "total", "free", "stolen", "migrated", "owners").rstrip()
        for each in pool["classes"]:
            owners = ", ".join(f"{_owner(owner)}: {owner['blocks']}" for owner in each["owners"])
            moved = [sum(shard[what] for shard in each["shards"]) for what in ("stolen", "migrated")]
            failed = [f"{each['failed']} failed"] if each["failed"] else []
            words = "; ".join([owners, *failed] if owners else failed)
            yield _ROW.format(each["payload"], "all", each["total"], each["free"], *moved, words).rstrip()
            for number, shard in enumerate(each["shards"]):
                yield _ROW.format("", number, *(shard[k] for k in ("total", "free", "stolen", "migrated")), "").rstrip()
    if not pools:
        yield "no pool yet: no process has announced"


def _owner(owner: dict[str, Any]) -> str:
    ring = owner["ring"]
    client = ring["writer"] if ring else owner["client"]
    if client is None:
        return "a ring that is over"
    words = f"{owner['program']}[{owner['pid']}]" if "program" in owner else f"client {client}"
    return f"flow {ring['flow']} from {words}" if ring else words
