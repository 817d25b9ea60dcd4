"""The texts of the RIB, as the prototype has them (spec: dht.md 11), with the two labels that it swapped put right."""

from collections.abc import Callable, Iterable
from typing import Final

from .debug import show_address, show_key, show_time
from .member import Member
from .wire import Value

__all__ = ["MAX_SHOWN", "database", "stats"]

MAX_SHOWN: Final = 1000


def stats(member: Member, created: float, own: int) -> str:
    """545 bytes. `created` is when the member began, in seconds since 1970; `own` how many names are here."""
    config = member.config
    lines = [
        ("Number of concurrent requests (alpha): ", config.dht_alpha),
        ("Number of replicas (k): ", config.dht_k),
        ("Expiry time for values (s): ", config.dht_t_expire),
        ("Refresh time for contacts (s): ", config.dht_t_refresh),
        ("Replication time for values (s): ", config.dht_t_replicate),
    ]
    numbers = [
        ("Number of keys: ", len(member.store.keys) + own),
        ("Number of local values: ", own),
        ("Number of non-local values: ", member.store.count),
    ]
    return "\n".join(
        [
            f"DHT: {show_key(member.own.id)}",
            f"  Created: {show_time(created)}",
            f"  Address: {show_address(member.own.address)}",
            "  Kademlia parameters:",
            *(f"     {label:<39}{number:>10}" for label, number in lines),
            *(f"  {label:<42}{number:>10}" for label, number in numbers),
            "",
        ]
    )


def database(member: Member, own: Iterable[bytes], own_value: Callable[[bytes], Value | None], unix: float) -> str:
    """Keys and their values, of `MAX_SHOWN` keys at most. `own` are the names registered here; `unix` is now, in
    seconds since 1970.
    """
    names = set(own)
    keys = sorted(names.union(member.store.keys))
    if not keys:
        return "  No entries.\n"
    lines = [
        "DHT database:",
        "",
        f"Number of keys:             {len(keys):>10}",
        f"Number of local values:     {len(names):>10}",
        f"Number of non-local values: {member.store.count:>10}",
    ]
    for key in keys[:MAX_SHOWN]:
        lines += ["", f"Key: K<{show_key(key)}>", "  Local entries:"]
        value = own_value(key)
        if value is not None:
            lines.append(_entry(value))
        lines += ["", "  Non-local entries:"]
        lines += [_entry(value) for value in member.store.values(key, unix)]
    if len(keys) > MAX_SHOWN:
        lines += ["", f"{len(keys) - MAX_SHOWN} more keys."]
    return "\n".join(lines) + "\n"


def _entry(value: Value) -> str:
    return f"    V<{show_key(value.data)}>, t_replicated={show_time(value.published)}, t_exp={show_time(value.expiry)}"
