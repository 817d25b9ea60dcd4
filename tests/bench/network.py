"""Layers over networks: two hosts of a side, each in a network namespace of its own, joined by veth devices.

A server runs on one host and its client on the other. What is sent without anybody slowing the sender down may be lost,
so here the receiver counts (`sink` and `flood` of the peers), and the sender says more than once that it has finished.
"""

import contextlib
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from ouro_core.model.irm_requests import BindProcess, BootstrapIpcp, CreateIpcp, ListIpcps, RegName
from ouro_core.model.layer import LayerInfo
from ouro_core.model.names import HashAlgorithm, hash_name
from ouro_core.testing.netns import Namespace, join
from tests.interop.hosts import OuroHost, PrototypeHost
from tests.interop.lines import UNICAST, Line

from .cases import Case
from .figures import Figure, Target, at_least, at_most
from .proc import Activity, activity, since
from .rtt import average
from .sides import TIMEOUT, Ours, Program, Server, Side, Unable, soon

__all__ = ["LINES", "TYPES", "cases", "sides"]

LAYER: Final = "net"
SETTLING: Final = 15.0
"""Seconds until the prototype has computed its tables, which it does every 4 s, and its directory has settled."""
DEVICE: Final = "v0"
_ADDRESSES: Final = {4: ("10.98.0.1", "10.98.0.2"), 6: ("fd98::1", "fd98::2")}
TYPES: Final = ("eth-dix", "eth-llc", "udp4", "udp6")
LINES: Final = {"unicast": 2, "unicast-two-hops": 3}
"""Unicast layers over eth-dix: hosts in a line, the client's first, the server's last."""
_TARGETS: Final = {"unicast": (5.0, 0.4, 0.7)}
"""Of packets a second, round trips back to back, and paced, where they are not those of a layer without routing."""


def cases(runs: int, quick: bool) -> list[Case]:
    """Packets received, and round trips back to back and paced, for each type."""
    seconds, few = (0.3, 5) if quick else (1.0, 1)

    def one_way(kind: str, size: int, batch: int, target: Target | None) -> Case:
        def measure(side: Side) -> Sequence[float]:
            with side.serve(("peer", "sink", str(batch))) as server:
                side.run(("peer", "flood", server.name, str(size), str(batch), str(seconds)))
                line = server.line()
            try:
                packets, elapsed = line.split()
                return [int(packets) / float(elapsed)]
            except (ValueError, ZeroDivisionError):
                raise Unable(f"the receiver said {line!r}") from None

        name = f"{kind}-{size}" + (f"x{batch}" if batch > 1 else "")
        title = f"{kind}, one way, {size} B, {'one' if batch == 1 else batch} a call, received"
        return Case(name, (Figure(title, "packets/s", target),), measure, runs, over=kind)

    def round_trip(kind: str, name: str, ways: str, count: int, target: Target) -> Case:
        def measure(side: Side) -> Sequence[float]:
            with side.serve(["oping", "-l", "-Q"]) as served:
                return [average(side.run(["oping", "-n", served.name, "-Q", "-c", str(count // few), *ways.split()]))]

        return Case(f"{kind}-rtt-{name}", (Figure(f"{kind}, oping {ways}", "µs", target),), measure, runs, over=kind)

    def cost(kind: str, *members: str) -> Case:
        """Processor time of members, by what they do with a packet; "" for one that is not looked at."""

        def measure(side: Side) -> Sequence[float]:
            assert isinstance(side, OursInLine | PrototypeInLine)
            with side.serve(("peer", "sink", "1")) as server:
                before = side.members()
                side.run(("peer", "flood", server.name, "64", "1", str(seconds)))
                packets = int(server.line().split()[0])
                spent = [since(b, a).cpu for b, a in zip(before, side.members(), strict=True)]
            return [cpu / max(packets, 1) * 1e9 for cpu, what in zip(spent, members, strict=True) if what]

        figures = (Figure(f"{kind}, processor time a packet, {what} member", "ns") for what in members if what)
        return Case(f"{kind}-cost", tuple(figures), measure, runs, over=kind)

    def of(kind: str) -> tuple[Case, ...]:
        many, close, paced = _TARGETS.get(kind, _TARGETS["unicast"] if kind in LINES else (3.5, 0.3, 0.95))
        return (
            one_way(kind, 64, 1, at_least(many)),
            one_way(kind, 64, 32, None),
            one_way(kind, 1400, 1, at_least(many)),
            one_way(kind, 1400, 32, None),
            round_trip(kind, "i0", "-i 0", 2000, at_most(close)),
            round_trip(kind, "f", "-f", 5000, at_most(close)),
            round_trip(kind, "i2", "-i 2", 500, at_most(paced)),
        )

    costs = [cost("unicast", "sending", "receiving"), cost("unicast-two-hops", "", "forwarding", "")]
    return [*(case for kind in (*TYPES, *LINES) for case in of(kind)), *costs]


def sides(kind: str, programs: dict[str, Path] | None) -> tuple[Side, Side | None]:
    """Ours, and the prototype's where its programs are known, with a layer of this kind."""
    ours, theirs = (OursInLine, PrototypeInLine) if kind in LINES else (OursApart, PrototypeApart)
    return ours(kind), theirs(kind, programs) if programs is not None else None


def _version(kind: str) -> int | None:
    return {"udp4": 4, "udp6": 6}.get(kind)


def _connect(kind: str, client: Namespace, server: Namespace) -> None:
    """A device in each, with an address where the type needs one."""
    join(client, DEVICE, server, DEVICE)
    version = _version(kind)
    if version is None:
        return
    for network, address in zip((client, server), _ADDRESSES[version], strict=True):
        if version == 6:
            with network.inside():
                Path(f"/proc/sys/net/ipv6/conf/{DEVICE}/disable_ipv6").write_text("0")
        width, more = (24, []) if version == 4 else (64, ["nodad"])
        network.ip("addr", "add", f"{address}/{width}", "dev", DEVICE, *more)


class _Apart(Side):
    """Two hosts. What is local to one host makes no sense here."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self._stack = contextlib.ExitStack()

    def start(self) -> None:
        self.start_daemon()

    def make_ipcp(self, layer: str) -> None:
        raise Unable("this side has one layer, over a network")

    def destroy_ipcp(self, layer: str) -> None:
        raise Unable("this side has one layer, over a network")

    def pids(self) -> dict[str, int]:
        raise Unable("this side is two hosts")

    @property
    def security(self) -> Path:
        raise Unable("this side is two hosts")


class OursApart(_Apart):
    """Ouro, twice."""

    label = "ours"
    help = Ours.help

    def start_daemon(self) -> None:
        with contextlib.ExitStack() as stack:
            self._client, self._server = (stack.enter_context(OuroHost()) for _ in range(2))
            _connect(self.kind, self._client.network, self._server.network)
            for host, other in ((self._client, self._server), (self._server, self._client)):
                ipcp = host.host.call(CreateIpcp(self.kind, LAYER)).id
                host.host.call(BootstrapIpcp(ipcp, LayerInfo(LAYER), self._options(host, other)))
                self._ipcp = ipcp  # at last the server's
            self._stack = stack.pop_all()

    def _options(self, host: OuroHost, other: OuroHost) -> Mapping[str, str]:
        version = _version(self.kind)
        if version is None:
            return {"dev": DEVICE}
        addresses = dict(zip((self._client, self._server), _ADDRESSES[version], strict=True))
        return {"ip": addresses[host], "peers": addresses[other]}

    def stop(self) -> None:
        self._stack.close()

    def bind(self, pid: int, name: str) -> None:
        self._server.host.call(RegName(name, self._ipcp))
        self._server.host.call(BindProcess(pid, name))

    def spawn(self, words: Sequence[str]) -> Program:
        return self._server.host.spawn(Ours.command(words))

    def execute(self, words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        return self._client.host.run(Ours.command(words), TIMEOUT)


class PrototypeApart(_Apart):
    """The prototype, twice."""

    label = "prototype"
    help = ("irm", "help")
    layer = LAYER

    def __init__(self, kind: str, programs: dict[str, Path]) -> None:
        super().__init__(kind)
        self._programs = programs
        self._pids: dict[int, int] = {}  # of a program here, the one that its host knows

    def start_daemon(self) -> None:
        with contextlib.ExitStack() as stack:
            self._client, self._server = (stack.enter_context(PrototypeHost(self._programs)) for _ in range(2))
            _connect(self.kind, self._client.network, self._server.network)
            version = _version(self.kind)
            addresses = _ADDRESSES[version] if version is not None else ("", "")
            for host, address in zip((self._client, self._server), addresses, strict=True):
                words = ("dev", DEVICE) if version is None else ("ip", address)
                host.irm("ipcp", "bootstrap", "type", self.kind, "name", LAYER, "layer", LAYER, *words)
            self._stack = stack.pop_all()

    def stop(self) -> None:
        self._stack.close()

    def bind(self, pid: int, name: str) -> None:
        inner = self._pids[pid]
        self._server.irm("name", "create", name)
        self._server.irm("name", "register", name, "layer", self.layer)
        soon(
            lambda: self._server.run("irm", "bind", "process", str(inner), "name", name).returncode == 0,
            f"process {inner} can be bound", 0.02,
        )  # fmt: skip
        self._client.irm("name", "create", name)
        version = _version(self.kind)
        if version is not None:
            hash = hash_name(name, HashAlgorithm.MD5).hex()
            self._client.resolve(f"{_ADDRESSES[version][1]} {hash}\n")

    def spawn(self, words: Sequence[str]) -> Program:
        program = self._server.spawn(*self._checked(words))
        assert program.stdout is not None
        self._pids[program.pid] = int(program.stdout.readline())
        return program

    @contextlib.contextmanager
    def serve(self, words: Sequence[str]) -> Iterator[Server]:
        with super().serve(words) as server:
            try:
                yield server
            finally:
                self._server.kill(self._pids.pop(server.program.pid))

    def execute(self, words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        return self._client.run(*self._checked(words), timeout=TIMEOUT)

    def _checked(self, words: Sequence[str]) -> Sequence[str]:
        if words[0] == "peer" and "peer" not in self._programs:
            raise Unable("no peer for the C prototype: it needs a C compiler and libouroboros-dev")
        return words


# ---------------------------------------------------------------- unicast layers


class OursInLine(OursApart):
    """Ouro, on each host of a line."""

    def start_daemon(self) -> None:
        with contextlib.ExitStack() as stack:
            hosts = [stack.enter_context(OuroHost()) for _ in range(LINES[self.kind])]
            Line(hosts).build()
            self._hosts = hosts
            self._client, self._server = hosts[0], hosts[-1]
            found = self._server.host.call(ListIpcps()).ipcps
            self._ipcp = next(ipcp.id for ipcp in found if ipcp.type == "unicast")
            self._stack = stack.pop_all()

    def members(self) -> list[dict[int, Activity]]:
        """What the members of the layer have done, from the client's to the server's."""
        found = [[ipcp for ipcp in host.host.call(ListIpcps()).ipcps if ipcp.type == "unicast"] for host in self._hosts]
        return [activity(ipcp.pid) for (ipcp,) in found]


class PrototypeInLine(PrototypeApart):
    """The prototype, on each host of a line."""

    layer = UNICAST

    def start_daemon(self) -> None:
        with contextlib.ExitStack() as stack:
            hosts = [stack.enter_context(PrototypeHost(self._programs)) for _ in range(LINES[self.kind])]
            Line(hosts).build()
            self._hosts = hosts
            self._client, self._server = hosts[0], hosts[-1]
            self._stack = stack.pop_all()
        time.sleep(SETTLING)

    def members(self) -> list[dict[int, Activity]]:
        """As ours."""
        return [activity(host.find("ipcpd-unicast")) for host in self._hosts]
