"""What another user may do to memory that he shares with us: harm himself, and nobody else."""

import fcntl
import mmap
import os
import random
import stat
import struct
import threading
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ouro_ssm._grant import ADMIT, FLOW, GrantData
from ouro_ssm.system import SsmPacketSystem

from ouro_core.contracts.packets import BrokerFlow, ClientRef, Domain, FlowEnd, Options, State
from ouro_core.model.errors import FlowDown, OuroError, OutOfMemory, PacketsError, WouldBlock

USER = os.getuid() or 1000  # whose pool is not the shared one; only root can give one away
NON_BLOCKING = Options(read_blocking=False, write_blocking=False)
HEADER, RING, SLOTS = 128, 17024, 640
HEAD, TAIL, NOTIFY, WWAIT, STATE = range(0, 640, 128)


class Vandal:
    """A user's hand on the memory of a flow: its end is 1, so it writes ring 1 and reads ring 0."""

    def __init__(self, flow: BrokerFlow) -> None:
        grant = flow.grant(0)  # ours, for it names all memory
        self.flow = mmap.mmap(grant.fds[0], os.fstat(grant.fds[0]).st_size)
        self.pool = mmap.mmap(grant.fds[1], os.fstat(grant.fds[1]).st_size)
        self.events = [mmap.mmap(grant.fds[n], 4096) for n in (7, 2)]

    def put(self, ring: int, field: int, value: int) -> None:
        struct.pack_into("<I", self.flow, HEADER + ring * RING + field, value & 0xFFFFFFFF)

    def get(self, ring: int, field: int) -> int:
        return int(struct.unpack_from("<I", self.flow, HEADER + ring * RING + field)[0])

    def push(self, block: int, offset: int, length: int) -> None:
        head = self.get(1, HEAD)
        struct.pack_into("<4I", self.flow, HEADER + RING + SLOTS + head % 1024 * 16, block, offset, length, 0)
        self.put(1, HEAD, head + 1)

    def close(self) -> None:
        for each in (self.flow, self.pool, *self.events):
            each.close()


def victim(host: Any) -> tuple[FlowEnd, FlowEnd, Vandal]:
    """Our end, the user's end, and his hand."""
    ours, user = host.client(), host.client(uid=USER)
    flow = host.create(ours.ref, user.ref)
    theirs = user.attach(*host.sent(flow.grant(1)))
    end = ours.attach(*host.sent(flow.grant(0)))
    for each in (end, theirs):
        each.set_options(NON_BLOCKING)
    return end, theirs, Vandal(flow)


def drain(end: FlowEnd) -> list[bytes]:
    got: list[bytes] = []
    try:
        while True:
            got += end.read_many(100)
    except WouldBlock:
        return got


def test_bad_descriptors_are_skipped_and_counted(host: Any) -> None:
    end, theirs, vandal = victim(host)
    theirs.write(b"before")
    owners = 0
    for block, offset, length in (
        (1 << 24, 256, 1),  # a free block
        (0xFF << 24, 256, 1),  # no such class
        (1 << 24 | 0xFFFFFF, 256, 1),  # no such block
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        (5, 0, 0),  # class 0 is none
    ):
        vandal.push(block, offset, length)
        owners += 1
    # The user's own library knows nothing of this: his head is the vandal's now.
    assert drain(end) == [b"before"]
    assert end.counters()["rejected"] == owners
    assert end.state == State.UP
    vandal.close()


@pytest.mark.parametrize(
    ("offset", "length"), [(256, 400), (545, 0), (0xFFFFFFFF, 2), (0, 0xFFFFFFFF), (1, 0xFFFFFFFF)]
)
def test_a_packet_that_leaves_its_block_is_rejected_and_the_block_freed(host: Any, offset: int, length: int) -> None:
    end, theirs, vandal = victim(host)
    theirs.write(b"x" * 100)
    slot = HEADER + RING + SLOTS
    struct.pack_into("<2I", vandal.flow, slot + 4, offset, length)
    assert drain(end) == []
    assert end.counters()["rejected"] == 1
    assert not host.used()
    vandal.close()


def test_a_block_that_is_offered_twice_is_read_once(host: Any) -> None:
    end, theirs, vandal = victim(host)
    theirs.write(b"once")
    vandal.push(*struct.unpack_from("<3I", vandal.flow, HEADER + RING + SLOTS))
    assert drain(end) == [b"once"]
    assert end.counters()["rejected"] == 1
    vandal.close()


@pytest.mark.parametrize("head", [1025, 1 << 31, 0xFFFFFFFF])
def test_an_impossible_head_puts_the_flow_down_for_good(host: Any, head: int) -> None:
    end, _theirs, vandal = victim(host)
    vandal.put(1, HEAD, head)
    with pytest.raises(FlowDown):
        end.read()
    vandal.put(1, HEAD, 0)
    vandal.put(0, STATE, 0)
    vandal.put(1, STATE, 0)
    assert end.state & State.DOWN
    for call in (end.read, lambda: end.write(b"x")):
        with pytest.raises(FlowDown):
            call()
    vandal.close()


def test_an_impossible_tail_puts_the_flow_down(host: Any) -> None:
    end, _theirs, vandal = victim(host)
    for _ in range(1024):
        end.write(b"")
    vandal.put(0, TAIL, 1025)
    with pytest.raises(FlowDown):
        end.write(b"")
    vandal.close()


def test_grants_and_tags_are_not_taken_from_shared_memory(host: Any) -> None:
    """He rewrites the whole header before we attach: that is noticed, and that is all."""
    ours, user = host.client(), host.client(uid=USER)
    flow = host.create(ours.ref, user.ref)
    vandal = Vandal(flow)
    vandal.flow[:16] = bytes(16)
    with pytest.raises(PacketsError):
        ours.attach(*host.sent(flow.grant(0)))
    vandal.close()


@pytest.mark.parametrize("seed", range(4))
def test_scribbling_everywhere_while_packets_run(host: Any, seed: int) -> None:
    """Flow, event sets and the control words of the pool, at random, while we and a neighbour work."""
    choose = random.Random(seed)
    a, b = host.flow(host.client(), host.client())
    stop = threading.Event()
    trouble: list[BaseException] = []

    def neighbour() -> None:
        number = 0
        try:
            while not stop.is_set():
                a.write(number.to_bytes(8, "little") * 8)
                assert b.read() == number.to_bytes(8, "little") * 8
                number += 1
        except BaseException as e:
            trouble.append(e)

    thread = threading.Thread(target=neighbour)
    thread.start()
    for _ in range(40):
        end, theirs, vandal = victim(host)
        events = host._clients[-2].event_set()
        events.add(end)
        for _ in range(200):
            what = choose.randrange(6)
            value = choose.choice(
                (0, 1, 2, 3, choose.getrandbits(32), choose.randrange(2048), 1 << 24 | choose.randrange(64))
            )
            if what == 0:
                struct.pack_into("<I", vandal.flow, 4 * choose.randrange(len(vandal.flow) // 4), value)
            elif what == 1:
                struct.pack_into("<I", vandal.pool, 4 * choose.randrange(320, 4096), value)
            elif what == 2:
                struct.pack_into("<I", vandal.events[0], 4 * choose.randrange(1024), value)
            elif what == 3:
                vandal.push(value, choose.choice((256, 300, value)), choose.randrange(300))
            for call in (partial(end.write, b"y" * 100), end.read, end.recv, events.poll, end.queued, theirs.read):
                try:
                    call()
                except OuroError:
                    pass
        events.close()
        vandal.close()
    stop.set()
    thread.join(30)
    assert not trouble
    pool = host.broker._domains[USER].pool
    pool.reap(set().union(*pool.owners()))


def test_a_scribbled_pool_is_not_mapped(host: Any) -> None:
    user = host.client(uid=USER)
    fd = host.broker._domains[USER].fd
    choose = random.Random(3)
    size = os.fstat(fd).st_size
    with mmap.mmap(fd, size) as memory:
        saved = memory[:4096]
        for _ in range(2000):
            for _ in range(choose.randrange(1, 4)):
                struct.pack_into("<I", memory, 4 * choose.randrange(512), choose.choice((0, 1, choose.getrandbits(32))))
            ref = ClientRef(1000, Domain(USER))
            grant = host.broker.admit(ref)
            try:
                SsmPacketSystem.client(*host.sent(grant)).counters()
            except PacketsError:
                pass
            host.broker.leave(ref, died=False)
            memory[:4096] = saved
    assert user.pair()


# ---------------------------------------------------------------- grants


def count_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@given(
    data=st.binary(max_size=80) | st.binary(min_size=64, max_size=64).map(lambda b: b"OSSM\1\0" + b[6:52] + bytes(12))
)
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_grant_or_an_error(data: bytes) -> None:
    for kind in (ADMIT, FLOW):
        try:
            grant = GrantData.decode(data, kind, 10)
        except PacketsError:
            continue
        assert GrantData.decode(grant.encode(), kind, 10) == grant


def test_changed_grants_and_exchanged_descriptors(host: Any) -> None:
    """Whatever is changed: an error, or an end; never a crash, and no descriptor is left open."""
    choose = random.Random(11)
    ours, other = host.client(), host.client()
    flow = host.create(ours.ref, other.ref)
    strange = [os.memfd_create("small"), os.eventfd(0), *os.pipe()]
    before = count_descriptors()
    attached = 0
    for n in range(1500):
        grant = flow.grant(0)
        data, fds = bytearray(grant.data), [os.dup(fd) for fd in grant.fds]
        for _ in range(choose.randrange(0, 3)):
            data[choose.randrange(64)] = choose.getrandbits(8)
        match choose.randrange(4):
            case 0:
                choose.shuffle(fds)
            case 1:
                at = choose.randrange(len(fds))
                os.close(fds[at])
                fds[at] = os.dup(choose.choice(strange))
            case 2:
                os.close(fds.pop())
            case _ if n % 3 == 0:
                fds.append(os.dup(strange[0]))
        try:
            end = ours.attach(bytes(data), fds)
        except PacketsError:
            assert count_descriptors() <= before + 4, "the event set of the other client is kept at most"
            continue
        attached += 1
        end.close()
        flow.destroy()
        flow = host.create(ours.ref, other.ref)
        del end
    assert attached
    for fd in strange:
        os.close(fd)


def test_the_same_descriptor_several_times(host: Any) -> None:
    ours, other = host.client(), host.client()
    grant = host.create(ours.ref, other.ref).grant(0)
    fd = os.dup(grant.fds[0])
    with pytest.raises(PacketsError):
        ours.attach(grant.data, [fd] * 10)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)
    with pytest.raises(PacketsError):
        ours.attach(grant.data, [-1] * 10)


def test_a_segment_of_another_owner_or_without_seals(host: Any) -> None:
    ours, other = host.client(), host.client()
    grant = host.create(ours.ref, other.ref).grant(0)
    own = os.geteuid()
    cases = [(own, 0o666, 7), (own, 0o600, 1)]
    if own == 0:
        cases.append((1000, 0o600, 7))
    for uid, mode, seal in cases:
        forged = os.memfd_create("forged", os.MFD_ALLOW_SEALING)
        with mmap.mmap(grant.fds[0], 0) as memory:
            os.write(forged, memory[:])
        os.fchown(forged, uid, -1)
        os.fchmod(forged, mode)
        fcntl.fcntl(forged, 1033, seal)
        fds = [forged, *(os.dup(fd) for fd in grant.fds[1:])]
        with pytest.raises(PacketsError, match="owner" if seal == 7 else "seals"):
            ours.attach(grant.data, fds)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make segments of another user")
def test_ends_that_are_never_closed(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's share of flows that are deallocated and attached still; other users, and who closes, go on."""
    monkeypatch.setattr("ouro_ssm.broker._MAX_ENDING", 8)
    hoarder, other = host.client(12345), host.client(12346)
    kept = []
    for _ in range(8):
        flow = host.create(hoarder.ref, hoarder.ref)
        kept.append(hoarder.attach(*host.sent(flow.grant(0))))
        flow.destroy()
    with pytest.raises(OutOfMemory, match="user 12345 has 8 deallocated flows with open ends"):
        host.create(hoarder.ref, hoarder.ref)
    host.create(other.ref, other.ref)
    kept.pop().close()
    host.create(hoarder.ref, hoarder.ref)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make segments of another user")
def test_what_a_user_did_to_his_memory_ends_with_his_last_process(host: Any) -> None:
    """Also where somebody else's process goes on using it."""
    ours = host.client()
    events = ours.event_set()
    for _ in range(3):
        vandal = host.client(12345)
        flow = host.create(ours.ref, vandal.ref)
        known = flow.grant(0).fds
        memory = [mmap.mmap(fd, 0) for fd in (os.dup(fd) for fd in known) if stat.S_ISREG(os.fstat(fd).st_mode)]
        a = ours.attach(*host.sent(flow.grant(0)), NON_BLOCKING)
        b = vandal.attach(*host.sent(flow.grant(1)), NON_BLOCKING)
        events.add(a)
        b.write(b"good")
        assert events.wait(30.0)
        assert a.read() == b"good"
        for each in memory:
            for at in range(0, min(len(each), 1 << 20), 4096):
                each[at : at + 4096] = b"\xff" * 4096
        vandal.close()
        host.broker.leave(vandal.ref, died=True)
        host._clients.remove(vandal)
        flow.destroy()
        a.close()
        assert not host.used()
