"""Flows with FRCT: packets a second, goodput, round trips; over a local layer, UDP, and a bad wire, beside TCP.

Ours alone: flows of this kind between two processes of the prototype stall or crash when they are in a hurry (flows.md
7.6 e).
"""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from ouro_core.testing.host import Host

from .cases import Case
from .figures import Figure, at_least_ours, at_most_ours
from .sides import PROGRAMS, Ours, Side, Unable
from .wire import Wire, missing

__all__ = ["Path", "cases", "local", "over_udp", "over_wire", "program"]

_GIB: Final = 1 << 30
_PATIENCE: Final = 300.0
"""Seconds that a transfer may take."""

Path = tuple[Host, Host]
"""The host of the server, and that of the client."""


def cases(runs: int, quick: bool) -> list[Case]:
    """With `quick` a sixteenth of the bytes."""
    size = _GIB >> 4 if quick else _GIB
    seconds = "2s" if quick else "10s"

    def case(name: str, measure: Callable[[], Sequence[float | None]], *figures: Figure, most: int = runs) -> Case:
        def of_side(side: Side) -> Sequence[float | None]:
            return measure() if isinstance(side, Ours) else [None] * len(figures)

        return Case(f"frct-{name}", figures, of_side, min(runs, most))

    def packets(qos: str, batch: int) -> Case:
        calls = "one a call" if batch == 1 else f"{batch} a call"
        title = f"FRCT, {qos}, 1000 B, {calls}, local layer"
        count = 100_000 if quick else 500_000

        def measure() -> Sequence[float]:
            with local() as path:
                got, _, elapsed, gaps = transfer(path, qos, 1000, batch, str(count * 1000))
            return [got / elapsed, count - got + gaps]

        return case(
            f"{qos}-1000{'' if batch == 1 else f'x{batch}'}", measure,
            Figure(title, "packets/s", None if qos == "data" else at_least_ours(200_000)),
            Figure(f"{title}: lost", "packets", at_most_ours(0)),
        )  # fmt: skip

    def goodput(where: Callable[[], contextlib.AbstractContextManager[Path]], packet: int) -> Sequence[float]:
        with where() as path:
            _, got, elapsed, _ = transfer(path, "data", packet, 32, str(size))
        return [got * 8 / elapsed / 1e9]

    return [
        *(packets(qos, batch) for qos in ("best", "voice", "video", "data") for batch in (1, 32)),
        case(
            "layer", lambda: goodput(local, 60_000),
            Figure(f"FRCT, reliable, {size >> 20} MiB over a local layer", "Gbit/s", at_least_ours(2)),
        ),
        case(
            "udp", lambda: goodput(over_udp, 8900),
            Figure(f"FRCT, reliable, {size >> 20} MiB over udp4, loopback", "Gbit/s", at_least_ours(0.5)),
        ),
        case(
            "rtt", round_trips,
            Figure("RTT, raw, 64 B, local layer, median", "µs"),
            Figure("RTT, FRCT, reliable: so much more", "µs", at_most_ours(15)),
        ),
        case(
            "loss", lambda: beside_tcp(seconds),
            Figure("FRCT over udp4, 1 % loss, RTT 10 ms", "Mbit/s"),
            Figure("TCP (CUBIC) on the same wire", "Mbit/s"),
            Figure("FRCT / TCP", "", at_least_ours(0.7)), most=3,
        ),
    ]  # fmt: skip


# ---------------------------------------------------------------- paths


@contextlib.contextmanager
def local() -> Iterator[Path]:
    """One host, with a layer of type local between all its processes. The server's name is "srv", here and below."""
    config = '[irmd]\ndirect = false\n[name.srv]\n[local.lo]\nbootstrap = "lo"\nreg = ["srv"]\n'
    with Host(config=config) as host:
        yield host, host


@contextlib.contextmanager
def over_udp() -> Iterator[Path]:
    """Two hosts on the loopback interface."""
    serves = '[name.srv]\n[udp4.net]\nbootstrap = "net"\nip = "127.0.0.3"\nreg = ["srv"]\n'
    asks = '[udp4.net]\nbootstrap = "net"\nip = "127.0.0.2"\npeers = "127.0.0.3"\n'
    with Host(config=serves) as server, Host(config=asks) as client:
        yield server, client


@contextlib.contextmanager
def over_wire(wire: Wire, type: str = "udp4", security: str = "/nowhere") -> Iterator[Path]:
    """Two hosts with a layer of a type, udp4 or one of Ethernet's, at the ends of a wire. `security`: the directory of
    their security files.
    """
    here, there = wire.ADDRESSES
    common = f'[irmd]\nsecurity = "{security}"\n'
    with contextlib.ExitStack() as stack:
        with wire.namespaces[0].inside():
            where = f'ip = "{here}"' if type == "udp4" else f'dev = "{wire.DEVICES[0]}"'
            config = f'{common}[name.srv]\n[{type}.net]\nbootstrap = "net"\n{where}\nreg = ["srv"]\n'
            server = stack.enter_context(Host(config=config))
        with wire.namespaces[1].inside():
            where = f'ip = "{there}"\npeers = "{here}"' if type == "udp4" else f'dev = "{wire.DEVICES[1]}"'
            client = stack.enter_context(Host(config=f'{common}[{type}.net]\nbootstrap = "net"\n{where}\n'))
        yield server, client


def program(*words: str) -> list[str]:
    """The command for some words of programs/frct.py."""
    return [sys.executable, str(PROGRAMS / "frct.py"), *words]


def _run(host: Host, *words: str) -> str:
    done = host.run(program(*words), _PATIENCE)
    if done.returncode:
        raise Unable(f"{words[0]}: {done.stderr.strip().rpartition(chr(10))[2]}")
    return done.stdout


# ---------------------------------------------------------------- measurements


def transfer(path: Path, qos: str, packet: int, batch: int, limit: str) -> tuple[int, int, float, int]:
    """Packets, bytes, seconds and gaps, as the reader counts them."""
    server, client = path
    sink = server.spawn(program("sink", "srv", str(batch)))
    _run(client, "source", "srv", qos, str(packet), str(batch), limit)
    return _figures(sink)


def _figures(sink: "subprocess.Popen[str]") -> tuple[int, int, float, int]:
    assert sink.stdout is not None
    packets, size, seconds, gaps = sink.stdout.readline().split()
    return int(packets), int(size), float(seconds), int(gaps)


def round_trips() -> Sequence[float]:
    """Raw, and how much longer it takes on a reliable flow: medians, in µs."""
    with local() as (server, client):
        server.spawn(program("echo", "srv"))
        raw, reliable = (float(_run(client, "ping", "srv", qos, "64", "5000")) for qos in ("raw", "data"))
    return [raw, reliable - raw]


def beside_tcp(seconds: str) -> Sequence[float]:
    """Goodput in Mbit/s of FRCT and of TCP, one after the other on one bad wire, and the quotient."""
    why = missing()
    if why:
        raise Unable(f"a wire {why}")
    with Wire(delay=0.005, loss=0.01) as wire:
        with over_wire(wire) as path:
            _, size, elapsed, _ = transfer(path, "data", 1400, 32, seconds)
            frct = size * 8 / elapsed / 1e6
        tcp = _tcp(wire, seconds)
    return [frct, tcp, frct / tcp]


def _tcp(wire: Wire, seconds: str) -> float:
    address = wire.ADDRESSES[0]
    with wire.namespaces[0].inside():
        sink = subprocess.Popen(program("tcp-sink", address), stdout=subprocess.PIPE, text=True)
    try:
        assert sink.stdout is not None
        sink.stdout.readline()
        with wire.namespaces[1].inside():
            subprocess.run(program("tcp-source", address, "cubic", seconds), check=True, timeout=_PATIENCE)
        _, size, elapsed, _ = _figures(sink)
    finally:
        sink.kill()
        sink.communicate()
    return size * 8 / elapsed / 1e6
