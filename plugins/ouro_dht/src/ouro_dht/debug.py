"""Messages and numbers as the log shows them (spec: dht.md 10). Addresses and cookies are in the order of a
little-endian host's memory, ids, keys and values are their first eight bytes.
"""

from datetime import UTC, datetime

from .wire import NAMES, Contact, Message, Response, Store

__all__ = ["describe", "show_address", "show_cookie", "show_key", "show_peer", "show_time"]


def show_address(address: int) -> str:
    """aa.bb.cc.dd"""
    return ".".join(f"{byte:02x}" for byte in (address & 0xFFFFFFFF).to_bytes(4, "little"))


def show_cookie(cookie: int) -> str:
    """16 hexadecimal digits."""
    return cookie.to_bytes(8, "little").hex()


def show_key(key: bytes) -> str:
    """At most 16 hexadecimal digits."""
    return key[:8].hex()


def show_peer(contact: Contact) -> str:
    """[id|address]"""
    return f"[{show_key(contact.id)}|{show_address(contact.address)}]"


def show_time(seconds: float) -> str:
    """UTC, in whole seconds."""
    try:
        return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%d %H:%M:%S} (UTC)"
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} s"


def describe(message: Message, arrow: str, peer: Contact) -> str:
    """The lines for a message: `arrow` is "-->" with the destination, "<--" with the source."""
    lines = [f"{NAMES[message.code]} {arrow} {show_peer(peer)}."]
    if isinstance(message, Store):
        lines += [
            f"  key: {_sized(message.key)}",
            f"  val: {_sized(message.value)}",
            f"  exp: {show_time(message.expiry)}.",
        ]
    else:
        lines += [f"  cookie: {show_cookie(message.cookie)}", f"  key:    {_sized(message.key)}"]
    if isinstance(message, Response):
        if message.values is not None:
            lines.append(f"  values: [{len(message.values)}]")
            lines += [f"    {_sized(v.data)}" for v in message.values]
        lines.append(f"  contacts: [{len(message.contacts)}]")
        lines += [f"    {show_peer(c)}" for c in message.contacts]
    return "\n".join(lines)


def _sized(data: bytes) -> str:
    return f"{show_key(data)} [{len(data)} bytes]"
