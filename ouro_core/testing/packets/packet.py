"""`Packet`: a block in the hand of a client."""

import gc

import pytest

from ouro_core.contracts.packets import FlowEnd
from ouro_core.model.errors import OuroError, PacketsError, TooLong, WouldBlock

from .bench import NON_BLOCKING, Bench, Kit

Ends = tuple[FlowEnd, FlowEnd]


class PacketContract(Kit):
    def test_made_here_and_sent(self, ends: Ends) -> None:
        a, b = ends
        packet = a.alloc(5)
        assert len(packet.payload) == 5
        packet.payload[:] = b"hello"
        a.send(packet)
        assert b.read() == b"hello"

    def test_headers_and_trailers(self, ends: Ends) -> None:
        a, b = ends
        packet = a.alloc(4)
        packet.payload[:] = b"data"
        head = packet.push(3)
        tail = packet.append(2)
        head[:] = b"pci"
        tail[:] = b"cs"
        a.send(packet)
        got = b.recv()
        assert bytes(got.payload) == b"pcidatacs"
        assert bytes(got.pull(3)) == b"pci"
        got.trim(2)
        assert bytes(got.payload) == b"data"
        got.release()

    def test_the_room_is_that_of_the_geometry(self, ends: Ends) -> None:
        a, _ = ends
        packet = a.alloc(10)
        packet.push(256)
        with pytest.raises(TooLong):
            packet.push(1)
        packet.append(32)
        full = a.alloc(2048)
        full.append(32)
        with pytest.raises(TooLong):
            full.append(1)
        with pytest.raises(TooLong):
            packet.pull(1000)
        with pytest.raises(TooLong):
            packet.trim(1000)

    def test_forwarded_from_flow_to_flow(self, bench: Bench) -> None:
        middle = bench.client()
        a, b = bench.flow(bench.client(), middle)
        c, d = bench.flow(middle, bench.client())
        a.write(b"through")
        packet = b.recv()
        packet.push(1)[:] = b">"
        c.send(packet)
        assert d.read() == b">through"

    def test_sent_into_another_pool(self, bench: Bench) -> None:
        middle = bench.client()
        a, b = bench.flow(bench.client(), middle)
        c, d = bench.flow(middle, bench.client(user=True))
        a.write(b"to a user")
        c.send(b.recv())
        assert d.read() == b"to a user"
        assert not bench.used()

    def test_a_block_is_given_back_once(self, bench: Bench) -> None:
        a, b = bench.joined()
        packet = a.alloc(8)
        assert sum(bench.used().values()) == 1
        packet.release()
        packet.release()
        assert not bench.used()
        a.write(b"x")
        held = b.recv()
        assert sum(bench.used().values()) == 1
        del held
        gc.collect()
        assert not bench.used()

    def test_a_sent_packet_is_not_ours_any_more(self, ends: Ends) -> None:
        a, b = ends
        packet = a.alloc(4)
        a.send(packet)
        with pytest.raises(OuroError):
            a.send(packet)
        packet.release()
        assert b.read() == bytes(4)

    def test_a_refused_packet_stays_ours(self, ends: Ends) -> None:
        a, b = ends
        packet = a.alloc(2)
        packet.payload[:] = b"ok"
        b.claim("test")
        a.claim("test")
        with pytest.raises(PacketsError):
            a.send(packet)
        a.unclaim()
        a.send(packet)
        b.unclaim()
        assert b.read() == b"ok"

    def test_an_empty_packet_is_a_keepalive(self, ends: Ends) -> None:
        a, b = ends
        a.send(a.alloc(0))
        b.set_options(NON_BLOCKING)
        with pytest.raises(WouldBlock):
            b.recv()
        assert b.sequence() == (0, 1)
