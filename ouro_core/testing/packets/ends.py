"""Ends: reading, writing, options, states, counters, claims."""

import os
import time
import warnings
from collections.abc import Callable, Iterator

import pytest

from ouro_core.contracts.packets import FlowEnd, Geometry, Options, SizeClass, State
from ouro_core.model.errors import (
    BadDescriptor,
    FlowDown,
    FlowPeer,
    FlowTimeout,
    InvalidArgument,
    NotAllocated,
    OuroError,
    PacketsError,
    TooLong,
    WouldBlock,
)

from .bench import BLOCKING, NON_BLOCKING, Background, Bench, Kit, drain, fill

Ends = tuple[FlowEnd, FlowEnd]


def _mark_peer(a: FlowEnd, b: FlowEnd) -> None:
    b.mark(State.PEER)


def _mark_down(a: FlowEnd, b: FlowEnd) -> None:
    a.mark(State.DOWN)


def _close_other(a: FlowEnd, b: FlowEnd) -> None:
    a.close()


ENDINGS = [(_mark_peer, FlowPeer), (_mark_down, FlowDown), (_close_other, FlowDown)]
"""What ends reading at `b`, and how."""


class EndContract(Kit):
    # ---- packets

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_a_packet_arrives_whole(self, ends: Ends, kind: Callable[[bytes], bytes]) -> None:
        a, b = ends
        a.write(kind(b"hello"))
        a.write(kind(b"world"))
        assert [b.read(), b.read()] == [b"hello", b"world"]
        b.write(kind(b"and back"))
        assert a.read() == b"and back"

    @pytest.mark.parametrize("size", [1, 256, 257, 2048, 16384])
    def test_every_size_up_to_the_largest_class(self, ends: Ends, size: int) -> None:
        a, b = ends
        packet = os.urandom(size)
        a.write(packet)
        assert b.read() == packet

    def test_a_longer_packet_is_refused(self, ends: Ends) -> None:
        a, b = ends
        with pytest.raises(TooLong):
            a.write(bytes(16385))
        with pytest.raises(TooLong):
            a.alloc(16385)
        a.write(b"next")
        assert drain(b) == [b"next"]

    def test_how_many_packets_make_sense(self, ends: Ends) -> None:
        _, b = ends
        assert b.read_many(0) == []
        with pytest.raises(InvalidArgument, match="-1"):
            b.read_many(-1)

    def test_order_is_kept_and_read_many_takes_what_there_is(self, ends: Ends) -> None:
        a, b = ends
        packets = [b"%d" % n for n in range(500)]
        for packet in packets:
            a.write(packet)
        assert b.read_many(most=1) == packets[:1]
        assert b.read_many(most=100) == packets[1:101]
        assert drain(b) == packets[101:]

    def test_write_many_says_how_many_it_took(self, ends: Ends) -> None:
        a, b = ends
        packets = [b"%d" % n for n in range(300)]
        left = packets
        while left:
            done = a.write_many(left)
            assert 0 < done <= len(left)
            left = left[done:]
        assert drain(b) == packets
        assert a.write_many([]) == 0

    def test_write_many_takes_one_packet_after_the_other(self, ends: Ends) -> None:
        a, b = ends
        ring = fill(a)
        drain(b)
        packets = iter([b"%d" % n for n in range(ring + 10)])
        done = a.write_many(packets)
        assert done <= ring
        assert done <= int(next(packets)) <= done + 1
        assert drain(b) == [b"%d" % n for n in range(done)]

        def breaks() -> Iterator[bytes]:
            yield b"before"
            raise ValueError

        with pytest.raises(ValueError):  # noqa: PT011
            a.write_many(breaks())
        assert drain(b) == [b"before"]

    def test_write_many_wakes_once(self, ends: Ends) -> None:
        a, b = ends
        reader = Background(lambda: [b.read() for _ in range(20)]).settle()
        before = a.counters()["wakes"]
        assert a.write_many([b"x"] * 20) == 20
        assert a.counters()["wakes"] - before <= 1
        assert reader.result() == [b"x"] * 20

    def test_write_many_raises_only_if_nothing_went(self, ends: Ends) -> None:
        a, b = ends
        ring = fill(a)
        with pytest.raises(WouldBlock):
            a.write_many([b"no", b"no"])
        assert len(b.read_many(ring)) == ring
        assert 0 < a.write_many([b"y"] * 2 * ring) <= ring

    def test_the_ring_has_1024_slots_or_a_little_less_and_nothing_accepted_is_lost(self, ends: Ends) -> None:
        a, b = ends
        ring = fill(a)
        assert 1000 <= ring <= 1024
        assert drain(b) == [b"x"] * ring

    def test_several_threads_on_each_end(self, bench: Bench) -> None:
        a, b = bench.joined()
        batches = [[b"%d.%d" % (writer, n) for n in range(1500)] for writer in range(4)]
        readers = [Background(lambda: [b.read() for _ in range(1500)]) for _ in range(4)]

        def write(packets: list[bytes]) -> None:
            for packet in packets:
                a.write(packet)

        writers = [Background(lambda packets=packets: write(packets)) for packets in batches]  # type: ignore[misc]
        for writer in writers:
            writer.result()
        read = [packet for reader in readers for packet in reader.result()]
        assert sorted(read) == sorted(packet for packets in batches for packet in packets)

    # ---- waiting

    def test_reading_nothing(self, ends: Ends) -> None:
        _, b = ends
        b.set_options(NON_BLOCKING)
        for call in (b.read, b.read_many, b.recv, lambda: b.readinto(bytearray(8))):
            with pytest.raises(WouldBlock):
                call()
        b.set_options(Options(read_timeout=0.02))
        began = time.monotonic()
        with pytest.raises(FlowTimeout):
            b.read()
        assert time.monotonic() - began >= 0.015

    def test_a_reader_that_waits_gets_the_packet(self, ends: Ends) -> None:
        a, b = ends
        for call in (b.read, lambda: b.read_many()[0]):
            reader = Background(call).settle()
            a.write(b"at last")
            assert reader.result() == b"at last"

    def test_a_full_ring(self, ends: Ends) -> None:
        a, b = ends
        ring = fill(a)
        a.set_options(Options(write_timeout=0.02))
        with pytest.raises(FlowTimeout):
            a.write(b"late")
        a.set_options(BLOCKING)
        writer = Background(lambda: a.write(b"last")).settle()
        assert writer.running
        assert b.read_many(ring) == [b"x"] * ring
        writer.result()
        assert drain(b) == [b"last"]

    @pytest.mark.parametrize(("ending", "error"), ENDINGS)
    def test_a_reader_that_waits_learns_of_the_end(
        self, ends: Ends, ending: Callable[..., None], error: type[OuroError]
    ) -> None:
        a, b = ends
        reader = Background(b.read).settle()
        ending(a, b)
        with pytest.raises(error):
            reader.result()

    @pytest.mark.parametrize("ending", [_mark_down, _close_other])
    def test_a_writer_that_waits_learns_of_the_end(self, ends: Ends, ending: Callable[..., None]) -> None:
        a, b = ends
        fill(b)
        b.set_options(BLOCKING)
        writer = Background(lambda: b.write(b"never")).settle()
        ending(a, b)
        with pytest.raises(FlowDown):
            writer.result()

    def test_a_writer_that_waits_learns_that_nobody_reads(self, ends: Ends) -> None:
        a, b = ends
        fill(b)
        b.set_options(BLOCKING)
        writer = Background(lambda: b.write(b"never")).settle()
        a.mark(State.READ_ONLY)
        with pytest.raises(NotAllocated):
            writer.result()

    def test_a_reader_that_waits_learns_of_its_own_close(self, ends: Ends) -> None:
        reader = Background(ends[1].read).settle()
        ends[1].close()
        with pytest.raises(BadDescriptor):
            reader.result()

    # ---- pool

    def test_the_pool_may_be_smaller_than_the_ring(self, small: Bench) -> None:
        a, b = small.joined()
        sent = fill(a)
        assert 16 <= sent <= 48, "a quarter of the 64 blocks is the receivers'"
        assert sum(small.used().values()) == sent
        assert any(n for name, n in small.broker.counters().items() if name.endswith(".failed"))
        a.set_options(BLOCKING)
        writer = Background(lambda: a.write(b"last")).settle()
        assert writer.running
        assert b.read_many(sent) == [b"x"] * sent
        writer.result()
        assert drain(b) == [b"last"]
        assert not small.used()

    @pytest.mark.parametrize("ending", [_mark_down, _close_other])
    def test_a_writer_that_waits_for_a_block_learns_of_the_end(self, small: Bench, ending: Callable[..., None]) -> None:
        a, b = small.joined()
        hog, silent = small.flow(small.clients[0], small.clients[1])
        fill(hog)
        b.set_options(BLOCKING)
        writer = Background(lambda: b.write(b"never")).settle()
        ending(a, b)
        with pytest.raises(FlowDown):
            writer.result()
        assert drain(silent)

    def test_a_class_without_blocks_is_absent(self) -> None:
        bench = Bench(self.system, Geometry((SizeClass(512, 64), SizeClass(4096, 0))), uid=self.user_uid)
        a, b = bench.joined()
        with pytest.raises(TooLong):
            a.write(bytes(513))
        a.write(bytes(512))
        assert b.read() == bytes(512)
        bench.close()

    def test_a_client_counts_the_pools_it_maps(self, small: Bench) -> None:
        a, b = small.joined()
        a.write(b"x")
        for client in small.clients:
            assert client.counters()["pool.0.512.used"] == 1
            assert "pool.0.512.failed" in client.counters()
        b.read()

    # ---- partial reads

    def test_a_partial_read_gives_the_rest_next_time(self, ends: Ends) -> None:
        a, b = ends
        a.write(b"0123456789")
        a.write(b"next")
        buffer = bytearray(4)
        assert [(b.readinto(buffer), bytes(buffer)) for _ in range(2)] == [(4, b"0123"), (4, b"4567")]
        assert b.readinto(buffer) == 2
        assert buffer[:2] == b"89"
        assert b.readinto(buffer) == 4
        assert buffer == b"next"

    def test_a_packet_that_fits_exactly_is_followed_by_0(self, ends: Ends) -> None:
        a, b = ends
        a.write(b"01234567")
        a.write(b"next")
        buffer = bytearray(4)
        assert [b.readinto(buffer) for _ in range(3)] == [4, 4, 0]
        larger = bytearray(10)
        assert b.readinto(larger) == 4
        assert larger[:4] == b"next"

    def test_without_partial_reads_a_longer_packet_is_lost(self, ends: Ends) -> None:
        a, b = ends
        b.set_options(Options(partial_read=False, read_timeout=10.0))
        for packet in (b"too long", b"four", b"end"):
            a.write(packet)
        buffer = bytearray(4)
        with pytest.raises(TooLong):
            b.readinto(buffer)
        assert b.readinto(buffer) == 4
        assert buffer == b"four"
        assert b.readinto(buffer) == 3

    # ---- keep-alives and counters

    def test_keepalives_are_seen_by_those_who_ask(self, bench: Bench) -> None:
        a, b = bench.joined()
        a.keepalive()
        a.write(b"")
        a.write(b"data")
        assert b.read() == b"data"
        b.set_options(NON_BLOCKING)
        a.keepalive()
        assert not bench.used(), "an empty packet takes no block"
        with pytest.raises(WouldBlock):
            b.read()
        b.set_options(Options(deliver_empty=True))
        a.keepalive()
        a.write(b"")
        a.write(b"data")
        assert [b.read() for _ in range(3)] == [b"", b"", b"data"]

    def test_a_keepalive_never_waits(self, ends: Ends) -> None:
        a, b = ends
        ring = fill(a)
        a.set_options(BLOCKING)
        Background(a.keepalive).result()
        assert drain(b) == [b"x"] * ring

    def test_sequence_counts_what_passed_read_or_not(self, ends: Ends) -> None:
        a, b = ends
        assert a.sequence() == b.sequence() == (0, 0)
        a.write(b"1")
        a.keepalive()
        b.write(b"1")
        assert (a.sequence(), b.sequence()) == ((2, 1), (1, 2))
        drain(b)
        assert b.sequence() == (1, 2)

    def test_queued(self, ends: Ends) -> None:
        a, b = ends
        for _ in range(5):
            a.write(b"x")
        b.write(b"y")
        assert (a.queued(), b.queued()) == ((1, 5), (5, 1))
        b.read_many(3)
        assert (a.queued(), b.queued()) == ((1, 2), (2, 1))

    def test_counters(self, ends: Ends) -> None:
        a, b = ends
        names = {"tx", "tx_bytes", "rx", "rx_bytes", "rejected", "sleeps", "wakes"}
        assert names <= set(a.counters())
        a.write(b"12345")
        a.write(b"123")
        b.read()
        assert (a.counters()["tx"], a.counters()["tx_bytes"]) == (2, 8)
        assert (b.counters()["rx"], b.counters()["rx_bytes"], b.counters()["rejected"]) == (1, 5, 0)

    # ---- states

    @pytest.mark.parametrize(("ending", "error"), ENDINGS)
    def test_what_is_queued_comes_before_the_error(
        self, ends: Ends, ending: Callable[..., None], error: type[OuroError]
    ) -> None:
        a, b = ends
        packets = [b"1", b"2", b"3"]
        for packet in packets:
            a.write(packet)
        ending(a, b)
        assert [*b.read_many(1), b.read(), b.read()] == packets
        for _ in range(2):
            with pytest.raises(error):
                b.read()

    def test_down_is_for_both_directions_and_can_go_up_again(self, ends: Ends) -> None:
        a, b = ends
        assert a.state == b.state == State.UP
        a.mark(State.DOWN)
        assert a.state & State.DOWN
        assert b.state & State.DOWN
        for end in ends:
            with pytest.raises(FlowDown):
                end.write(b"no")
            with pytest.raises(FlowDown):
                end.read()
        b.mark(clear=State.DOWN)
        assert a.state == b.state == State.UP
        a.write(b"again")
        assert b.read() == b"again"

    def test_read_only_is_for_the_other_end(self, ends: Ends) -> None:
        a, b = ends
        a.mark(State.READ_ONLY)
        assert b.state & State.READ_ONLY
        assert not a.state & State.READ_ONLY
        with pytest.raises(NotAllocated):
            b.write(b"nobody reads")
        a.write(b"we write")
        assert b.read() == b"we write"
        a.mark(clear=State.READ_ONLY)
        b.write(b"ok")
        assert a.read() == b"ok"

    def test_peer_is_on_this_side_and_stays(self, ends: Ends) -> None:
        a, b = ends
        b.mark(State.PEER)
        assert b.state & State.PEER
        assert a.state == State.UP
        a.write(b"late")
        assert b.read() == b"late"
        with pytest.raises(FlowPeer):
            b.read()

    def test_close_tells_the_other_end(self, ends: Ends) -> None:
        a, b = ends
        a.close()
        assert b.state & State.CLOSED
        with pytest.raises(FlowDown):
            b.write(b"to nobody")

    def test_a_closed_end_is_a_bad_descriptor(self, ends: Ends) -> None:
        a, _ = ends
        a.close()
        a.close()
        calls: list[Callable[[], object]] = [
            a.read, a.read_many, a.recv, a.queued, a.sequence, a.keepalive, lambda: a.state, lambda: a.write(b"x"),
            lambda: a.write_many([b"x"]), lambda: a.readinto(bytearray(1)), lambda: a.alloc(1),
            lambda: a.mark(State.DOWN), lambda: a.set_options(BLOCKING), lambda: a.claim("test"),
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(BadDescriptor):
                call()

    # ---- claims

    def test_a_claimed_end_works_through_the_view_only(self, ends: Ends) -> None:
        a, b = ends
        view = b.claim("test")
        assert b.owner == "test"
        calls: list[Callable[[], object]] = [
            b.read, b.read_many, b.recv, lambda: b.write(b"x"), lambda: b.write_many([b"x"]), lambda: b.claim("other"),
            lambda: b.readinto(bytearray(1)),
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(PacketsError):
                call()
        view.set_options(BLOCKING)
        a.write(b"in")
        view.write(b"out")
        assert (view.read(), a.read()) == (b"in", b"out")
        assert b.state == State.UP
        assert b.counters()["rx"] == 1
        b.set_options(BLOCKING)

    def test_a_claimed_end_can_be_given_back(self, ends: Ends) -> None:
        a, b = ends
        view = b.claim("test")
        view.set_options(BLOCKING)
        reader = Background(view.read).settle()
        b.unclaim()
        b.unclaim()
        assert b.owner is None
        with pytest.raises(OuroError):
            reader.result()
        with pytest.raises(OuroError):
            view.write(b"x")
        b.set_options(BLOCKING)
        a.write(b"yours again")
        assert b.read() == b"yours again"

    def test_a_reader_that_waits_loses_the_end_to_a_claim(self, ends: Ends) -> None:
        reader = Background(ends[1].read).settle()
        ends[1].claim("test")
        with pytest.raises(PacketsError):
            reader.result()

    # ---- a child of fork

    def test_ends_do_not_work_in_a_forked_child(self, ends: Ends) -> None:
        a, b = ends
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of the test run: the child touches none
            child = os.fork()
        if child == 0:
            status = 1
            try:
                a.write(b"from the child")
            except OuroError:
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        a.write(b"from the parent")
        assert drain(b) == [b"from the parent"]
