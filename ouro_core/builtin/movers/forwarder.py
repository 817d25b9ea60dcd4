"""`PythonForwarder`: flows <-> flows by address, as a `ForwardProgram` says."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping

from ouro_core.contracts.packets import End, FlowEnd, Forwarder, PacketClient
from ouro_core.contracts.programs import ForwardProgram, Group, Mode
from ouro_core.model.errors import BadDescriptor, FlowDown, NotAllocated, PacketsError, TooLong, WouldBlock

from . import fields
from .base import Port, ThreadedMover
from .stall import HALF, Delivery
from .window import Receiver, Sender

__all__ = ["PythonForwarder"]

_PER_CUBE = ("forwarded", "local", "originated", "ttl", "no_route", "no_eid", "short", "ring_full", "no_block", "down",
             "keepalives")  # fmt: skip


class _ForwardPort(Port):
    """`cube`: of a N-1 flow that of what comes in, of a N+1 flow that of what it sends. `waits_for`: the port in whose
    ring the first held packet finds no room.
    """

    def __init__(self, number: int, end: FlowEnd, cube: int, program: ForwardProgram) -> None:
        super().__init__(number, end, "forwarder")
        self.cube = cube
        self.delivery = Delivery(self.view, program)
        self.waits_for: _ForwardPort | None = None
        self.not_before: float | None = None  # the window's wait of the first held packet is over then

    def next_time(self) -> float | None:
        """When to look at the packet that waits; None: when there is room."""
        if self.waits_for is not None:
            return self.waits_for.delivery.until
        return self.not_before


class _NetworkPort(_ForwardPort):
    pass


class _ComponentPort(_ForwardPort):
    def __init__(self, number: int, end: FlowEnd, program: ForwardProgram, eid: int) -> None:
        super().__init__(number, end, 0, program)
        self.eid = eid


class _FlowPort(_ForwardPort):
    def __init__(
        self, number: int, end: FlowEnd, cube: int, program: ForwardProgram, eid: int, destination: int, remote: int
    ) -> None:
        super().__init__(number, end, cube, program)
        self.eid = eid
        self.aim(program, destination, remote)
        self.sender = Sender(program.window, time.monotonic_ns()) if program.window else None
        self.receiver = Receiver(program.window) if program.window else None

    def aim(self, program: ForwardProgram, destination: int, remote: int) -> None:
        """The header of what is sent from now on."""
        header = bytearray(program.header)
        fields.put(program.destination, header, destination)
        fields.put(program.eid, header, remote)
        header[program.cube] = self.cube
        header[program.ttl] = program.max_ttl
        self.pci = bytes(header)


class _Hops:
    """The next hops of one destination, with the turn of ROTATE."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._turn = 0

    def choose(self, ports: Mapping[int, _ForwardPort]) -> _ForwardPort | None:
        here = [ports[number] for number in self._group.ports if number in ports]
        if not here:
            return None
        if self._group.mode is Mode.ROTATE:
            self._turn += 1
            return here[(self._turn - 1) % len(here)]
        if self._group.mode is Mode.FIRST_UP:
            return next((port for port in here if not port.delivery.down()), here[0])
        return here[0]


class PythonForwarder(ThreadedMover[_ForwardPort], Forwarder):
    """Fulfils `Forwarder` on the ends of any packet system. The key of events and flow counters is the port.

    A step takes one packet of one port as far as it goes. It changes nothing when the packet must wait, so that the
    same step is simply tried again, with the routes of then.
    """

    def __init__(self, client: PacketClient, program: ForwardProgram) -> None:
        _check(program)
        counters = tuple(f"{name}.{cube}" for cube in range(program.cubes) for name in _PER_CUBE)
        super().__init__(client, "forwarder", _PER_CUBE + counters)
        self._program = program
        self._numbers = itertools.count(1)
        self._here: dict[int, _ForwardPort] = {}  # ports that packets may go to
        self._eids: dict[int, _FlowPort | _ComponentPort] = {}
        self._routes: list[dict[int, _Hops]] = [{} for _ in range(program.cubes)]

    # ---- tables

    def add_network(self, end: End, cube: int = 0) -> int:
        with self._between_turns():
            self._check_cube(cube)
            return self._place(_NetworkPort(next(self._numbers), _flow_end(end), cube, self._program))

    def add_flow(self, eid: int, end: FlowEnd, destination: int, remote_eid: int, cube: int = 0) -> int:
        with self._between_turns():
            self._check_cube(cube)
            self._check_eid(eid, flow=True)
            port = _FlowPort(next(self._numbers), end, cube, self._program, eid, destination, remote_eid)
            self._eids[eid] = port
            return self._place(port)

    def set_peer(self, port: int, destination: int, remote_eid: int) -> None:
        with self._between_turns():
            flow = self._here[port]
            if not isinstance(flow, _FlowPort):
                raise PacketsError(f"port {port} is no flow of the layer above")
            flow.aim(self._program, destination, remote_eid)

    def add_component(self, eid: int, end: FlowEnd) -> int:
        with self._between_turns():
            self._check_eid(eid, flow=False)
            port = _ComponentPort(next(self._numbers), end, self._program, eid)
            self._eids[eid] = port
            return self._place(port)

    def _place(self, port: _ForwardPort) -> int:
        self._here[port.key] = port
        self._add(port)
        return port.key

    def _check_cube(self, cube: int) -> None:
        if not 0 <= cube < self._program.cubes:
            raise PacketsError(f"there is no QoS cube {cube}; this layer has 0 to {self._program.cubes - 1}")

    def _check_eid(self, eid: int, flow: bool) -> None:
        first = self._program.first_flow_eid
        if (eid >= first) is not flow or eid < 0:
            raise PacketsError(f"EID {eid} does not fit: flows have {first} and more, components less")
        if eid in self._eids:
            raise KeyError(eid)

    def remove(self, port: int, drain: float = 0.0) -> None:
        with self._between_turns():
            self._leave(self._here[port], drain)

    def _forget(self, port: _ForwardPort) -> None:
        self._here.pop(port.key, None)
        if isinstance(port, _FlowPort | _ComponentPort):
            self._eids.pop(port.eid, None)

    def set_routes(self, cube: int, routes: Mapping[int, Group]) -> None:
        table = {destination: _Hops(group) for destination, group in routes.items()}
        with self._between_turns():
            self._check_cube(cube)
            self._routes[cube] = table

    def feedback(self, eid: int, ece: int) -> None:
        """For a flow that is gone: nothing, as the UPDATE may have been on its way."""
        with self._between_turns():
            port = self._eids.get(eid)
            if isinstance(port, _FlowPort) and port.sender is not None:
                port.sender.feedback(ece)

    # ---- the thread

    def _turn(self, now: float) -> float | None:
        more = False
        for port in sorted(self._ready, key=lambda p: -p.cube):
            try:
                more |= self._move(port, now)
            except BadDescriptor:  # closed by the client itself
                self._leave(port, 0.0)
                del self._ready[port]
        if more:
            return now
        return min((t for t in (port.next_time() for port in self._ready) if t is not None), default=None)

    def _held_back(self) -> bool:
        return any(port.view.queued()[0] for port in self._ready)

    def _move(self, port: _ForwardPort, now: float) -> bool:
        """A batch of one port. Whether there is more that can be moved."""
        if port.refill():
            while port.held:
                if not self._step(port, port.held[0], now):
                    return False
                port.held.popleft()
                port.waits_for = None
        if port.view.queued()[0]:
            return True
        del self._ready[port]
        self._say_farewell(port)
        return False

    def _step(self, port: _ForwardPort, packet: bytes, now: float) -> bool:
        """False: the packet must wait."""
        if isinstance(port, _FlowPort):
            return self._originate(port, packet, now)
        if not packet:
            return self._tally("keepalives", port)
        if len(packet) < self._program.header:
            return self._tally("short", port)
        if isinstance(port, _ComponentPort):
            return self._towards(port, bytearray(packet), packet[self._program.cube], "originated")
        if fields.get(self._program.destination, packet) == self._program.address:
            return self._deliver(port, packet, now)
        if packet[self._program.ttl] <= 1:
            return self._tally("ttl", port)
        onward = bytearray(packet)
        onward[self._program.ttl] -= 1
        return self._towards(port, onward, port.cube, "forwarded")

    def _originate(self, port: _FlowPort, payload: bytes, now: float) -> bool:
        if port.sender is not None and port.not_before is None:
            clock = time.monotonic_ns()
            wait = port.sender.packet(len(payload), clock) or port.sender.pace(clock)
            port.not_before = now + wait * 1e-9
        if port.not_before is not None and now < port.not_before:
            return False
        if not self._towards(port, bytearray(port.pci + payload), port.cube, "originated"):
            return False
        port.not_before = None
        return True

    def _towards(self, port: _ForwardPort, packet: bytearray, cube: int, done: str) -> bool:
        """Mark the packet and write it to its next hop."""
        program = self._program
        table = self._routes[cube] if cube < program.cubes else {}
        hops = table.get(fields.get(program.destination, packet))
        out = hops.choose(self._here) if hops is not None else None
        if out is None:
            return self._tally("no_route", port)
        try:
            queue = out.view.queued()[1]
            if port.waits_for is out and queue > HALF:
                return False
            if program.ecn_shift is not None:
                if done == "originated" and program.window is not None:
                    queue = max(0, queue - program.window.max_packets)
                packet[program.ecn] |= min(255, queue >> program.ecn_shift)
            out.view.write(packet)
        except WouldBlock:
            if port.waits_for is None:
                self._count["stalls"] += 1
            port.waits_for = out
            return False
        except (FlowDown, NotAllocated):
            return self._lose("down", port, out)
        except BadDescriptor:
            return self._vanished(port, out)
        except TooLong:
            return self._lose("no_block", port, out)
        self._sent(out, len(packet))
        return self._tally(done, port)

    def _deliver(self, port: _ForwardPort, packet: bytes, now: float) -> bool:
        """To the flow or component of the EID, without the header."""
        program = self._program
        out = self._eids.get(fields.get(program.eid, packet))
        if out is None:
            return self._tally("no_eid", port)
        others = max((p.delivery.last for p in self._eids.values() if p is not out), default=float("-inf"))
        try:
            loss = out.delivery.offer(packet[program.header :], now, others)
        except BadDescriptor:
            return self._vanished(port, out)
        if loss is None:
            if port.waits_for is None:
                self._count["stalls"] += 1
            port.waits_for = out
            return False
        if isinstance(out, _FlowPort) and out.receiver is not None:
            ece = out.receiver.packet(packet[program.ecn])
            if ece is not None:
                self._post("REPORT", out, ece)
        if loss:
            return self._lose(loss, port, out)
        self._sent(out, len(packet) - program.header)
        return self._tally("local", port)

    # ---- counters; all return True, as the packet is done with

    def _tally(self, what: str, port: _ForwardPort) -> bool:
        self._count[what] += 1
        self._count[f"{what}.{port.cube}"] += 1
        port.count["rx"] += 1
        port.count["rx_bytes"] += len(port.held[0])
        return True

    def _vanished(self, port: _ForwardPort, out: _ForwardPort) -> bool:
        """The client itself closed the end that the packet was to go to."""
        self._leave(out, 0.0)
        return self._lose("down", port, out)

    def _lose(self, what: str, port: _ForwardPort, out: _ForwardPort) -> bool:
        out.count["dropped"] += 1
        return self._tally(what, port)

    @staticmethod
    def _sent(out: _ForwardPort, size: int) -> None:
        out.count["tx"] += 1
        out.count["tx_bytes"] += size


def _flow_end(end: End) -> FlowEnd:
    if not isinstance(end, FlowEnd):
        raise PacketsError(f"a {type(end).__name__} has stages; put a relay and one end of a pair between")
    return end


def _check(program: ForwardProgram) -> None:
    fields.check(program.destination, program.header)
    fields.check(program.eid, program.header)
    for name in ("cube", "ttl", "ecn"):
        if not 0 <= getattr(program, name) < program.header:
            raise PacketsError(f"{name} at {getattr(program, name)} lies outside the header of {program.header} bytes")
    if not 0 < program.max_ttl <= 255 or program.cubes < 1:
        raise PacketsError(f"max_ttl {program.max_ttl} must be 1 to 255, cubes {program.cubes} at least 1")
