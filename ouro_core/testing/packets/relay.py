"""Relays: what joins an end with stages to a pair."""

import errno
from collections.abc import Iterable

import pytest

from ouro_core.contracts.packets import Buffer, End, FlowEnd, Options, PacketClient, State
from ouro_core.model.errors import PacketsError

from .bench import BLOCKING, NON_BLOCKING, Background, Bench, Kit, eventually
from .wire import await_event


class Shouting(End):
    """The least pipeline: one stage, upper case on the way out and lower case on the way in."""

    def __init__(self, end: FlowEnd) -> None:
        self._end = end

    def read(self) -> bytes:
        return self._end.read().lower()

    def read_many(self, most: int = 32) -> list[bytes]:
        return [packet.lower() for packet in self._end.read_many(most)]

    def write(self, data: Buffer) -> None:
        self._end.write(bytes(data).upper())

    def write_many(self, packets: Iterable[Buffer]) -> int:
        return self._end.write_many([bytes(packet).upper() for packet in packets])

    @property
    def state(self) -> State:
        return self._end.state

    def set_options(self, options: Options) -> None:
        self._end.set_options(options)


class Breaking(Shouting):
    """Raises what no contract knows, the first time that it is read and the first time that it is written."""

    def __init__(self, end: FlowEnd) -> None:
        super().__init__(end)
        self.faults = {"read": LookupError("a fault in reading"), "write": LookupError("a fault in writing")}

    def read_many(self, most: int = 32) -> list[bytes]:
        if (fault := self.faults.pop("read", None)) is not None:
            raise fault
        return super().read_many(most)

    def write_many(self, packets: Iterable[Buffer]) -> int:
        if (fault := self.faults.pop("write", None)) is not None:
            raise fault
        return super().write_many(packets)


class RelayContract(Kit):
    def _pairs(self, client: PacketClient) -> tuple[FlowEnd, FlowEnd, FlowEnd, FlowEnd]:
        """Outside, inside; inside, outside."""
        left, a = client.pair()
        b, right = client.pair()
        for end in (left, right):
            end.set_options(BLOCKING)
        return left, a, b, right

    def test_a_stage_with_a_fault_costs_what_it_had(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        """The fault is told, and logged once; the flow goes on."""
        client = bench.client()
        left, a, b, right = self._pairs(client)
        relay = client.relay(a, Breaking(b), 8)
        assert await_event(relay, "FAILED").value == errno.EIO
        right.write(b"READ")
        assert left.read() == b"read"
        left.write(b"lost")
        assert await_event(relay, "FAILED").key == 1
        left.write(b"written")
        assert right.read() == b"WRITTEN"
        assert relay.flow_counters(1)["dropped"] == 1
        (logged,) = [r for r in caplog.records if r.exc_info]
        assert "a fault in" in logged.getMessage()
        relay.stop()

    def test_both_ways_in_order(self, bench: Bench) -> None:
        client = bench.client()
        left, a, b, right = self._pairs(client)
        relay = client.relay(a, b, 8)
        packets = [b"%d" % n for n in range(3000)]
        for source, sink in ((left, right), (right, left)):

            def write(end: FlowEnd = source) -> None:
                for packet in packets:
                    end.write(packet)

            writer = Background(write)
            got: list[bytes] = []
            while len(got) < len(packets):
                got += sink.read_many()
            writer.result()
            assert got == packets
        relay.stop()

    def test_what_is_full_waits_and_nothing_is_lost(self, bench: Bench) -> None:
        client = bench.client()
        left, a, b, right = self._pairs(client)
        relay = client.relay(a, b)

        def write() -> None:
            for n in range(4000):
                left.write(b"%d" % n)

        writer = Background(write)
        eventually(lambda: right.queued()[0] >= 1000, "the ring behind the relay is full")
        right.write(b"the other way")
        assert left.read() == b"the other way"
        got: list[bytes] = []
        while len(got) < 4000:
            got += right.read_many()
        writer.result()
        assert got == [b"%d" % n for n in range(4000)]
        relay.stop()

    def test_keepalives_pass(self, bench: Bench) -> None:
        client = bench.client()
        left, a, b, right = self._pairs(client)
        relay = client.relay(a, b)
        right.set_options(Options(read_timeout=10.0, deliver_empty=True))
        left.keepalive()
        assert right.read() == b""
        relay.stop()

    def test_an_end_with_stages(self, bench: Bench) -> None:
        client = bench.client()
        inside, outside = client.pair()
        outside.set_options(BLOCKING)
        mine, theirs = bench.flow(client, bench.client())
        relay = client.relay(Shouting(mine), inside)
        outside.write(b"hello")
        assert theirs.read() == b"HELLO"
        theirs.write(b"LESS LOUD, PLEASE")
        assert outside.read() == b"less loud, please"
        relay.stop()
        assert inside.owner is None

    def test_its_ends_are_its_own(self, bench: Bench) -> None:
        client = bench.client()
        left, a, b, right = self._pairs(client)
        relay = client.relay(a, b)
        for end in (a, b):
            assert end.owner
            end.set_options(NON_BLOCKING)
            with pytest.raises(PacketsError):
                end.read()
        third, _ = client.pair()
        with pytest.raises(PacketsError):
            client.relay(third, a)
        assert third.owner is None
        relay.stop()
        relay.stop()
        for end, outside in ((a, left), (b, right)):
            assert end.owner is None
            end.set_options(BLOCKING)
            outside.write(b"ours")
            assert end.read() == b"ours"

    def test_the_end_of_a_flow_is_told_after_what_was_queued(self, bench: Bench) -> None:
        client = bench.client()
        left, a, b, right = self._pairs(client)
        relay = client.relay(a, b)
        left.write(b"last words")
        left.close()
        assert right.read() == b"last words"
        assert await_event(relay, "CLOSED").key == 0
        relay.stop()

    def test_a_flow_that_was_down_goes_on(self, bench: Bench) -> None:
        client = bench.client()
        left, a, b, right = self._pairs(client)
        relay = client.relay(a, b)
        right.mark(State.DOWN)
        assert await_event(relay, "DOWN").key == 1
        right.mark(clear=State.DOWN)
        assert await_event(relay, "UP").key == 1
        right.write(b"up again")
        assert left.read() == b"up again"
        relay.stop()

    def test_counters_of_a_relay(self, bench: Bench) -> None:
        client = bench.client()
        left, a, b, right = self._pairs(client)
        relay = client.relay(a, b)
        left.write(b"12345")
        assert right.read() == b"12345"
        eventually(lambda: relay.counters()["tx"] == 1, "one packet through")
        assert relay.counters()["tx_bytes"] == 5
        assert (relay.flow_counters(0)["rx"], relay.flow_counters(1)["tx"]) == (1, 1)
        relay.stop()
