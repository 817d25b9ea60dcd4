"""The prototype's own test cases of shared memory (spec: ssm.md 9), restated where this design differs.

What differs stands in the README, under "Restated". A block is a `Packet`; its length, view and release are the
prototype's length, pointer and removal.
"""

import struct
import threading
import time
from functools import partial
from itertools import pairwise
from mmap import mmap
from typing import Any

import pytest

from ouro_core.contracts.packets import SHARED_GEOMETRY, Event, FlowEnd, Options, State
from ouro_core.model.errors import (
    BadDescriptor,
    FlowDown,
    FlowTimeout,
    NotAllocated,
    OuroError,
    PacketsError,
    TooLong,
    WouldBlock,
)

NON_BLOCKING = Options(read_blocking=False, write_blocking=False)
SLOTS = 128 + 640
"""Where the first slot of ring 0 is in a flow segment."""


def shards(host: Any, payload: int, uid: int = 0) -> list[tuple[int, int, int, int]]:
    """(blocks, free, stolen, migrated) of each shard of one class."""
    pool = host.broker._domains[uid].pool
    payloads = [row[0] for row in pool.usage()]
    found: list[tuple[int, int, int, int]] = pool.shards()[payloads.index(payload)]
    return found


def blocks_until_full(end: FlowEnd, size: int) -> list[Any]:
    end.set_options(NON_BLOCKING)
    held = []
    try:
        while True:
            held.append(end.alloc(size))
    except WouldBlock:
        return held


class TestPool:
    def test_basic(self, host: Any) -> None:
        end, _ = host.joined()
        block = end.alloc(256)
        assert len(block) == len(block.payload) == 256
        assert sum(host.used().values()) == 1
        block.release()
        assert not host.used()

    def test_multiple(self, host: Any) -> None:
        end, _ = host.joined()
        blocks = [end.alloc(256) for _ in range(3)]
        assert [len(block) for block in blocks] == [256] * 3
        for n in (1, 0, 2):
            blocks[n].release()
        assert not host.used()

    @pytest.mark.parametrize("options", [Options(), NON_BLOCKING])
    def test_oversize_is_refused_at_once(self, host: Any, options: Options) -> None:
        end, _ = host.joined()
        end.set_options(options)
        with pytest.raises(TooLong):
            end.alloc(2 << 20)
        end.alloc(256).release()

    def test_stress(self, host: Any) -> None:
        end, _ = host.joined()
        live: list[Any] = []
        for number in range(50):
            live.append(end.alloc(256 if number % 2 else 1024))
            if number % 2:
                live.pop(0).release()
            if number % 10 == 0:
                end.alloc(256).release()
        live.clear()
        assert not host.used()

    def test_a_second_mapping(self, host: Any) -> None:
        one, other = host.client(), host.client()
        a, b = host.flow(one, other)
        a.alloc(256).release()
        b.alloc(256).release()
        assert not host.used()

    @pytest.mark.parametrize("block", [0, 100000000])
    def test_what_names_no_block_is_none(self, host: Any, block: int) -> None:
        """There: a look-up gives NULL, a removal EINVAL. Here such names come out of rings only, and are skipped."""
        one, other = host.client(), host.client()
        flow = host.create(one.ref, other.ref)
        grant = flow.grant(0)
        a, b = one.attach(*host.sent(grant)), other.attach(*host.sent(flow.grant(1)))
        a.write(b"first")
        a.write(b"second")
        with mmap(grant.fds[0], 0) as memory:
            struct.pack_into("<I", memory, SLOTS, block)
            assert b.read() == b"second"
            assert b.counters()["rejected"] == (block != 0), "no block is a keep-alive"
        host.broker.leave(one.ref, died=False)
        b.close()
        flow.destroy()

    def test_removed_twice(self, host: Any) -> None:
        end, other = host.joined()
        block = end.alloc(10)
        block.release()
        block.release()
        assert not host.used()
        sent = end.alloc(10)
        end.send(sent)
        with pytest.raises(BadDescriptor):
            end.send(sent)
        sent.release()
        assert len(other.read()) == 10

    def test_between_processes(self, host: Any) -> None:
        end, process = host.remote("echo")
        block = end.alloc(13)
        block.payload[:] = b"shared memory"
        end.send(block)
        back = end.recv()
        assert bytes(back.payload) == b"shared memory"
        back.release()
        end.close()
        process.finish()

    def test_what_was_written_is_read(self, host: Any) -> None:
        end, _ = host.joined()
        block = end.alloc(256)
        block.payload[:] = bytes(range(256))
        assert bytes(block.payload) == bytes(range(256))

    def test_head_and_tail(self, host: Any) -> None:
        end, _ = host.joined()
        block = end.alloc(256)
        block.payload[:] = bytes(range(256))
        block.append(32)
        assert len(block) == 288
        assert bytes(block.payload[:256]) == bytes(range(256))
        block.trim(32)
        assert len(block) == 256
        assert bytes(block.payload) == bytes(range(256))

    def test_class_boundaries(self, host: Any) -> None:
        """There: class - 316 bytes of payload. Here a class is named by its payload."""
        end, _ = host.joined()
        classes = [c.payload for c in SHARED_GEOMETRY.classes]
        for payload, next_one in pairwise(classes):
            for size, of in ((payload, payload), (payload + 1, next_one)):
                block = end.alloc(size)
                assert len(block) == size
                assert host.used() == {f"pool.0.{of}.used": 1}
                block.release()

    def test_a_small_and_an_ethernet_packet_fit_their_class(self, host: Any) -> None:
        end, _ = host.joined()
        for size, of in ((64, 256), (1500, 2048)):
            block = end.alloc(size)
            assert host.used() == {f"pool.0.{of}.used": 1}
            block.push(256)
            block.append(32)
            block.release()

    def test_exhaustion(self, small: Any) -> None:
        """Also of the next classes, of which two stand in."""
        end, _ = small.joined()
        held = blocks_until_full(end, 256)
        assert held
        with pytest.raises(WouldBlock):
            end.alloc(256)
        held.clear()
        assert not small.used()
        end.alloc(256).release()

    def test_reclaim(self, host: Any) -> None:
        """There: by the allocator's pid. Here by the owner, which is a client that is never another one."""
        dead, alive = host.client(), host.client()
        gone, stays = host.flow(dead, alive)
        blocks = [gone.alloc(100) for _ in range(2)], stays.alloc(100)
        assert sum(host.used().values()) == 3
        host.broker.leave(dead.ref, died=True)
        assert host.broker._domains[0].pool.owners()[0] == {alive.ref.id: 1}
        del blocks
        pair = alive.pair()
        later = pair[0].alloc(100)
        assert host.broker._domains[0].pool.owners()[0] == {alive.ref.id: 1}
        later.release()


class TestSharding:
    def test_lazy_distribution(self, host: Any) -> None:
        host.client()
        total = SHARED_GEOMETRY.classes[0].blocks
        assert shards(host, 256) == [(total, total, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0)]

    def test_migration(self, host: Any) -> None:
        """To the shard of who allocated it: client id modulo four."""
        peer = host.client()
        for _ in range(4):
            client = host.client()
            before = shards(host, 256)
            ends = host.flow(client, peer)
            block = ends[0].alloc(100)
            shard = client.ref.id % 4
            between = shards(host, 256)
            block.release()
            after = shards(host, 256)
            stolen = shard != 0  # where all blocks began
            assert between[shard][2] - before[shard][2] == stolen
            assert after[shard][3] - before[shard][3] == stolen
            assert after[shard][0] - before[shard][0] == stolen
            assert sum(row[0] for row in after) == sum(row[1] for row in after) == SHARED_GEOMETRY.classes[0].blocks

    def test_stealing(self, host: Any) -> None:
        end, other = host.joined()
        total = SHARED_GEOMETRY.classes[4].blocks
        for each in (end, other):
            held = [each.alloc(4000) for _ in range(total // 2)]
            assert sum(blocks - free for blocks, free, _, _ in shards(host, 4096)) == total // 2
            held.clear()
            assert sum(free for _, free, _, _ in shards(host, 4096)) == total

    def test_the_own_shard_comes_first(self, host: Any) -> None:
        """What came into it once is taken from it again: nothing is stolen any more."""
        end, _peer = host.joined()
        for _ in range(200):
            end.alloc(100).release()
        stolen = sum(stolen for _, _, stolen, _ in shards(host, 256))
        assert stolen <= 64, "a magazine at most"

    def test_several_processes(self, host: Any) -> None:
        ends = [host.remote("hold", 4) for _ in range(4)]
        for _, process in ends:
            assert process.hear() == {"held": 4}
            process.say()
            process.finish()
        end, _ = host.joined()
        end.alloc(256).release()
        assert not host.used()

    def test_exhaustion_of_all_shards(self, small: Any) -> None:
        first, second = small.joined()
        held = blocks_until_full(first, 256)
        for end in (first, second):
            end.set_options(NON_BLOCKING)
            with pytest.raises(WouldBlock):
                end.alloc(256)
        held.clear()


class TestRing:
    def test_one_packet(self, host: Any) -> None:
        a, b = host.joined()
        b.set_options(NON_BLOCKING)
        a.write(b"42")
        assert b.queued()[0] == 1
        assert b.read() == b"42"
        assert b.queued()[0] == 0
        with pytest.raises(WouldBlock):
            b.read()

    def test_fill_and_drain(self, host: Any) -> None:
        """1024 packets: free-running counters leave no slot empty."""
        a, b = host.joined()
        for end in (a, b):
            end.set_options(NON_BLOCKING)
        for number in range(1024):
            a.write(number.to_bytes(2, "little"))
            assert b.queued()[0] == number + 1
        with pytest.raises(WouldBlock):
            a.write(b"one more")
        assert [int.from_bytes(b.read(), "little") for _ in range(1024)] == list(range(1024))
        assert b.queued() == (0, 0)

    def test_access(self, host: Any) -> None:
        a, b = host.joined()
        for end in (a, b):
            end.set_options(NON_BLOCKING)
        assert a.state == b.state == State.UP
        b.mark(set=State.READ_ONLY)
        with pytest.raises(NotAllocated):
            a.write(b"x")
        b.mark(clear=State.READ_ONLY, set=State.DOWN)
        for call in (lambda: a.write(b"x"), a.read, b.read):
            with pytest.raises(FlowDown):
                call()

    def test_a_second_handle(self, host: Any) -> None:
        """There: any number of them. Here an end is one process's; a claim hands it over within that."""
        a, b = host.joined()
        a.write(b"seen")
        view = b.claim("another")
        assert view.read() == b"seen"
        with pytest.raises(PacketsError):
            b.read()
        b.unclaim()

    @pytest.mark.parametrize(("options", "items"), [(NON_BLOCKING, 100), (Options(), 50)])
    def test_threads(self, host: Any, options: Options, items: int) -> None:
        a, b = host.joined()
        a.set_options(options)
        b.set_options(options)
        got: list[int] = []

        def read() -> None:
            while len(got) < items:
                try:
                    got.append(int.from_bytes(b.read(), "little"))
                except WouldBlock:
                    time.sleep(0)

        reader = threading.Thread(target=read)
        reader.start()
        for number in range(items):
            a.write(number.to_bytes(2, "little"))
        reader.join(30)
        assert got == list(range(items))

    @pytest.mark.parametrize("reading", [True, False])
    def test_timeouts(self, host: Any, reading: bool) -> None:
        a, b = host.joined()
        a.set_options(NON_BLOCKING)
        for _ in range(0 if reading else 1024):
            a.write(b"full")
        a.set_options(Options(read_timeout=0.1, write_timeout=0.1))
        start = time.monotonic()
        with pytest.raises(FlowTimeout):
            a.read() if reading else a.write(b"x")
        assert time.monotonic() - start >= 0.09
        b.close()

    @pytest.mark.parametrize("reading", [True, False])
    def test_down_ends_blocking_calls(self, host: Any, reading: bool) -> None:
        """Before the call, as there; and during it, which nobody is told of there."""
        for early in (True, False):
            a, b = host.joined()
            a.set_options(NON_BLOCKING)
            for _ in range(0 if reading else 1024):
                a.write(b"full")
            a.set_options(Options(read_timeout=30.0, write_timeout=30.0))
            timer = threading.Timer(0.0 if early else 0.05, partial(b.mark, set=State.DOWN))
            timer.start()
            if early:
                timer.join()
            with pytest.raises(FlowDown):
                a.read() if reading else a.write(b"x")
            timer.join()

    def test_what_is_queued_comes_before_down(self, host: Any) -> None:
        a, b = host.joined()
        a.write(b"first")
        a.close()
        assert b.read() == b"first"
        with pytest.raises(FlowDown):
            b.read()


class TestFlowSet:
    def test_add_and_remove(self, host: Any) -> None:
        one, other = host.client(), host.client()
        end, _ = host.flow(one, other)
        events, second = one.event_set(), one.event_set()
        events.add(end)
        for each in (events, second):
            with pytest.raises(PacketsError):
                each.add(end)
        events.remove(end)
        with pytest.raises(PacketsError):
            events.remove(end)
        second.add(end)

    def test_closing_it_removes_all(self, host: Any) -> None:
        """There: zero."""
        one, other = host.client(), host.client()
        ends = [host.flow(one, other)[0] for _ in range(2)]
        events = one.event_set()
        for end in ends:
            events.add(end)
        events.close()
        again = one.event_set()
        for end in ends:
            again.add(end)

    def test_wait(self, host: Any) -> None:
        one, other = host.client(), host.client()
        a, b = host.flow(one, other)
        events = one.event_set()
        events.add(a)
        for timeout in (0.0, 0.01):
            with pytest.raises(FlowTimeout):
                events.wait(timeout)
        b.write(b"x")
        assert events.wait(30.0) == [(a, Event.PACKET)]

    def test_more_events_than_a_table_has_room_for(self, host: Any) -> None:
        """There: 1024 unread events write into the next set. Here they are levels."""
        one, other = host.client(), host.client()
        a, b = host.flow(one, other)
        events = one.event_set()
        events.add(a)
        for _ in range(5000):
            b.write(b"x")
            a.read()
        b.write(b"last")
        assert events.wait(30.0) == [(a, Event.PACKET)]
        assert a.read() == b"last"


class TestWaiting:
    """Blocking allocation, with a time-out, across shards."""

    def test_it_ends_in_time(self, small: Any) -> None:
        end, _ = small.joined()
        held = blocks_until_full(end, 100)
        end.set_options(Options(write_timeout=0.1))
        with pytest.raises(FlowTimeout):
            end.alloc(100)
        with pytest.raises(FlowTimeout):
            end.write(bytes(100))
        held.clear()

    def test_a_block_freed_in_any_shard_wakes_who_waits(self, small: Any) -> None:
        """Four clients, four shards; each holds blocks, each waits for those of the others."""
        peer, *clients = (small.client() for _ in range(5))
        assert {client.ref.id % 4 for client in clients} == {0, 1, 2, 3}
        flows = [small.flow(client, peer) for client in clients]
        ends = [end for end, _ in flows]
        for holder in ends:
            held = blocks_until_full(holder, 100)
            for waiter in ends:
                waiter.set_options(Options(write_timeout=30.0))
                timer = threading.Timer(0.02, held.pop().release)
                timer.start()
                held.append(waiter.alloc(100))
                timer.join()
            held.clear()

    def test_after_stealing_comes_the_next_class(self, tiny: Any) -> None:
        """Six blocks of eight are for applications. They are in the shard of whom they were freed by."""
        (one, _), (two, _) = flows = tiny.joined(), tiny.joined()
        for block in [one.alloc(64) for _ in range(6)]:
            block.release()
        held = [two.alloc(64) for _ in range(6)]
        assert tiny.used() == {"pool.0.64.used": 6}
        held.append(two.alloc(64))
        assert tiny.used() == {"pool.0.64.used": 6, "pool.0.128.used": 1}
        held.clear()
        del flows

    def test_nobody_starves(self, pair_of_blocks: Any) -> None:
        """Two processes have the only two blocks, but for moments; three others get a hundred each all the same."""
        host = pair_of_blocks
        hogs = [host.remote("hog") for _ in range(2)]
        poor = [host.remote("take", 100) for _ in range(3)]
        for _, process in poor:
            assert process.hear() == {"taken": 100}
            process.finish()
        for _, process in hogs:
            process.say()
            assert process.hear()["taken"] > 100
            process.finish()


def test_errors_are_of_the_contract() -> None:
    for error in (BadDescriptor, FlowDown, FlowTimeout, NotAllocated, PacketsError, TooLong, WouldBlock):
        assert issubclass(error, OuroError)
