"""The pool against a model: whatever clients allocate, steal, send, read, free, exhaust, and however they end."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from ouro_core.contracts.packets import Geometry, Options, SizeClass
from ouro_core.model.errors import WouldBlock

from .conftest import Host

PAYLOADS = (64, 128, 256, 512)
BLOCKS = 8
QUOTA = 6
"""Blocks of a class that applications may take."""
NON_BLOCKING = Options(read_blocking=False, write_blocking=False)


class Held:
    """A block in the hand of a client: its class, and the bytes in it."""

    def __init__(self, client: int, of: int, packet: Any, data: bytes) -> None:
        self.client, self.of, self.packet, self.data = client, of, packet, data


class PoolMachine(RuleBasedStateMachine):
    """Clients in a ring: each writes to the next one. The model knows how many blocks of each class everybody has."""

    held = Bundle("held")

    @initialize(clients=st.integers(2, 5), shards=st.integers(1, 6))
    def begin(self, clients: int, shards: int) -> None:
        self.host = Host(Geometry(tuple(SizeClass(payload, BLOCKS) for payload in PAYLOADS), shards=shards))
        self.clients = [self.host.client() for _ in range(clients)]
        self.alive = [True] * clients
        self.ends: list[tuple[Any, Any]] = []  # from client n to client n + 1
        self.flows = []
        for n, client in enumerate(self.clients):
            other = self.clients[(n + 1) % clients]
            flow = self.host.create(client.ref, other.ref)
            ends = tuple(
                each.attach(*self.host.sent(flow.grant(end)), NON_BLOCKING) for end, each in enumerate((client, other))
            )
            self.flows.append(flow)
            self.ends.append((ends[0], ends[1]))
        self.used = dict.fromkeys(PAYLOADS, 0)
        self.queues: list[list[Held]] = [[] for _ in range(clients)]
        self.hands: list[Held] = []

    def teardown(self) -> None:
        if hasattr(self, "host"):
            for each in self.hands:
                each.packet.release()
            self.host.close()

    def _class_for(self, size: int) -> int | None:
        """Of a new block: the first of three that is not used up, wherever its blocks are."""
        first = next(n for n, payload in enumerate(PAYLOADS) if payload >= size)
        for payload in PAYLOADS[first : first + 3]:
            if self.used[payload] < QUOTA:
                return payload
        return None

    def _works(self, n: int) -> bool:
        """Whether packets of flow n can still be written and read."""
        return self.alive[n] and self.alive[(n + 1) % len(self.clients)]

    @rule(target=held, who=st.integers(0, 4), size=st.sampled_from((1, 64, 65, 200, 512)), fill=st.binary(max_size=4))
    def alloc(self, who: int, size: int, fill: bytes) -> Any:
        n = who % len(self.clients)
        if not self._works(n):
            return multiple()
        expected = self._class_for(size)
        if expected is None:
            with pytest.raises(WouldBlock):
                self.ends[n][0].alloc(size)
            return multiple()
        packet = self.ends[n][0].alloc(size)
        data = (fill * size)[:size].ljust(size, b"\0")
        packet.payload[:] = data
        self.used[expected] += 1
        self.hands.append(made := Held(n, expected, packet, data))
        return made

    @rule(block=consumes(held))
    def release(self, block: Held) -> None:
        if block not in self.hands:
            return
        block.packet.release()
        block.packet.release()
        self.hands.remove(block)
        self.used[block.of] -= 1

    @rule(block=consumes(held))
    def send(self, block: Held) -> None:
        if block not in self.hands or not self._works(block.client):
            return
        self.ends[block.client][0].send(block.packet)
        self.hands.remove(block)
        self.queues[block.client].append(block)

    @rule(target=held, who=st.integers(0, 4), copy=st.booleans())
    def read(self, who: int, copy: bool) -> Any:
        n = who % len(self.clients)
        end = self.ends[n][1]
        if not self._works(n):
            return multiple()
        if not self.queues[n]:
            with pytest.raises(WouldBlock):
                end.read()
            return multiple()
        block = self.queues[n].pop(0)
        if copy:
            assert end.read() == block.data
            self.used[block.of] -= 1
            return multiple()
        packet = end.recv()
        assert bytes(packet.payload) == block.data
        self.hands.append(made := Held((n + 1) % len(self.clients), block.of, packet, block.data))
        return made

    @rule(who=st.integers(0, 4))
    def die(self, who: int) -> None:
        """What it held comes back at once; what is in its rings when the other end closes as well."""
        n = who % len(self.clients)
        if sum(self.alive) <= 1 or not self.alive[n]:
            return
        self.alive[n] = False
        self.host.broker.leave(self.clients[n].ref, died=True)
        for block in [each for each in self.hands if each.client == n]:
            self.hands.remove(block)
            self.used[block.of] -= 1
        for flow, end, other in ((n, 1, (n + 1) % len(self.clients)), ((n - 1) % len(self.clients), 0, n - 1)):
            if self.alive[other]:
                self.ends[flow][end].close()
            self.flows[flow].destroy()
            for block in self.queues[flow]:
                self.used[block.of] -= 1
            self.queues[flow].clear()
        self.host.broker.counters()

    @invariant()
    def every_block_is_somewhere(self) -> None:
        if not hasattr(self, "host"):
            return
        pool = self.host.broker._domains[0].pool
        assert {row[0]: row[2] for row in pool.usage()} == self.used
        for (_, total, used, _), shards, owners in zip(pool.usage(), pool.shards(), pool.owners(), strict=True):
            assert sum(shard[0] for shard in shards) == total == BLOCKS
            assert sum(shard[1] for shard in shards) == total - used
            assert sum(owners.values()) == used
            assert all(stolen >= migrated for _, _, stolen, migrated in shards), "it was taken before it was freed"

    @invariant()
    def nobody_has_blocks_but_owners(self) -> None:
        if not hasattr(self, "host"):
            return
        words: dict[int, int] = {}
        for row in self.host.broker._domains[0].pool.owners():
            for word, blocks in row.items():
                words[word] = words.get(word, 0) + blocks
        clients = {self.clients[n].ref.id: 0 for n in range(len(self.clients))}
        for block in self.hands:
            clients[self.clients[block.client].ref.id] += 1
        assert {word: n for word, n in words.items() if word < 1 << 31} == {c: n for c, n in clients.items() if n}
        assert sum(n for word, n in words.items() if word >> 31) == sum(map(len, self.queues))


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
