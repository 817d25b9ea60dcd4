"""Clients, grants and the life of a flow: what the IRM does. Nothing may be left at the end."""

import os

import pytest

from ouro_core.contracts.packets import FlowEnd, Options, State
from ouro_core.model.errors import FlowDown, FlowTimeout, OuroError, PacketsError

from .bench import BLOCKING, Background, Bench, Kit, fill

Ends = tuple[FlowEnd, FlowEnd]


class BrokerContract(Kit):
    def test_the_system_says_what_it_is(self) -> None:
        assert isinstance(self.system.name, str)
        assert self.system.usable() is None, "the kit runs where the system does"

    # ---- grants

    def test_grants_are_small(self, bench: Bench) -> None:
        ref = bench.ref()
        grant = bench.broker.admit(ref)
        other = bench.client()
        flow = bench.broker.create_flow(77, ref, other.ref)
        for each in (grant, flow.grant(0), flow.grant(1)):
            assert 0 < len(each.data) <= 256
            assert len(each.fds) <= 10
        flow.destroy()
        bench.broker.leave(ref, died=False)

    def test_a_flow_knows_its_id_and_its_ends_are_different(self, bench: Bench) -> None:
        a, b = bench.joined()
        assert a.flow_id == b.flow_id == 1
        assert a.owner is None
        assert bench.joined()[0].flow_id == 2

    def test_an_end_shows_the_number_it_is_given(self, bench: Bench) -> None:
        one, two = bench.client(), bench.client()
        flow = bench.create(one, two)
        a = one.attach(*bench.sent(flow.grant(0, 7)), BLOCKING)
        b = two.attach(*bench.sent(flow.grant(1, 8)), BLOCKING)
        assert (a.flow_id, b.flow_id) == (7, 8)
        bench.broker.leave(two.ref, died=True)
        with pytest.raises(FlowDown, match="flow 7 is down: the other end's process ended"):
            a.read()

    def test_an_end_is_attached_once(self, bench: Bench) -> None:
        one, two = bench.client(), bench.client()
        flow = bench.create(one, two)
        a = one.attach(*bench.sent(flow.grant(0)), BLOCKING)
        with pytest.raises(PacketsError):
            one.attach(*bench.sent(flow.grant(0)))
        b = two.attach(*bench.sent(flow.grant(1)), BLOCKING)
        b.write(b"still there")
        assert a.read() == b"still there"

    def test_a_grant_is_for_the_client_it_names(self, bench: Bench) -> None:
        one, two, three = bench.client(), bench.client(), bench.client()
        flow = bench.create(one, two)
        with pytest.raises(PacketsError):
            three.attach(*bench.sent(flow.grant(0)))

    def test_a_client_must_be_admitted(self, bench: Bench) -> None:
        with pytest.raises(PacketsError):
            bench.broker.create_flow(1, bench.client().ref, bench.ref())

    @pytest.mark.parametrize("data", [b"", b"nonsense", bytes(64), bytes(256)])
    def test_nonsense_is_refused_and_its_descriptors_are_closed(self, bench: Bench, data: bytes) -> None:
        client = bench.client()
        for attach in (client.attach, self.system.client):
            read, write = os.pipe()
            with pytest.raises(PacketsError):
                attach(data, [read, write])
            for fd in (read, write):
                with pytest.raises(OSError, match="Bad file descriptor"):
                    os.fstat(fd)

    def test_a_flow_waits_for_both_ends(self, bench: Bench) -> None:
        one, two = bench.client(), bench.client()
        flow = bench.create(one, two)
        a = one.attach(*bench.sent(flow.grant(0)), BLOCKING)
        a.write(b"before you came")
        b = two.attach(*bench.sent(flow.grant(1)), BLOCKING)
        assert b.read() == b"before you came"

    # ---- domains

    def test_a_flow_uses_the_pool_of_the_poorer_domain(self, bench: Bench) -> None:
        for user in (False, True):
            a, b = bench.joined(user)
            a.write(b"x")
            assert list(bench.used()) == [f"pool.{bench.uid if user else 0}.256.used"]
            b.read()

    def test_two_users_share_no_pool(self, bench: Bench) -> None:
        mine = bench.client(user=True)
        bench.uid += 1
        other = bench.ref(user=True)
        with pytest.raises(ValueError, match="share no pool"):
            bench.broker.create_flow(1, mine.ref, other)

    def test_a_pair_is_within_a_client(self, bench: Bench) -> None:
        for user in (False, True):
            client = bench.client(user)
            a, b = client.pair()
            for end in (a, b):
                end.set_options(BLOCKING)
            a.write(b"x")
            uid = bench.uid if user else 0
            assert client.counters()[f"pool.{uid}.256.used"] == 1
            b.write(b"y")
            assert (a.read(), b.read()) == (b"y", b"x")
            assert bench.broker.leave(client.ref, died=False) == []
            assert not bench.used()

    # ---- the end of a flow

    def test_down_and_up(self, bench: Bench) -> None:
        a, b = bench.joined()
        flow = bench.flows[0]
        reader = Background(b.read).settle()
        flow.down()
        flow.down()
        assert a.state & b.state & State.DOWN
        with pytest.raises(FlowDown):
            reader.result()
        flow.up()
        a.write(b"up")
        assert b.read() == b"up"

    def test_what_is_closed_does_not_come_up(self, bench: Bench) -> None:
        a, b = bench.joined()
        flow = bench.flows[0]
        flow.down()
        a.close()
        try:
            flow.up()
        except OuroError:
            pass  # refused, one way or the other
        with pytest.raises(FlowDown):
            b.write(b"x")

    def test_destroy(self, bench: Bench) -> None:
        a, b = bench.joined()
        a.write(b"queued")
        fill(b)
        b.set_options(BLOCKING)
        writer = Background(lambda: b.write(b"never")).settle()
        flow = bench.flows[0]
        flow.destroy()
        flow.destroy()
        with pytest.raises(FlowDown):
            writer.result()
        for end in (a, b):
            assert end.state & State.DOWN
            assert end.state & State.CLOSED
        assert b.read() == b"queued"
        with pytest.raises(FlowDown):
            b.read()
        a.close()
        b.close()
        assert not bench.used()

    def test_grants_end_with_the_flow(self, bench: Bench) -> None:
        one, two = bench.client(), bench.client()
        flow = bench.create(one, two)
        early = bench.sent(flow.grant(0))
        flow.destroy()
        try:
            end = one.attach(*early)
        except PacketsError:
            return
        assert end.state & State.CLOSED, "a grant that was under way gives an end that is closed"
        end.close()

    def test_an_id_can_be_used_again(self, bench: Bench) -> None:
        one, two = bench.client(), bench.client()
        flow = bench.broker.create_flow(9, one.ref, two.ref)
        with pytest.raises(PacketsError):
            bench.broker.create_flow(9, one.ref, two.ref)
        flow.destroy()
        bench.broker.create_flow(9, one.ref, two.ref).destroy()

    @pytest.mark.parametrize("attached", [(), (0,), (1,), (0, 1)])
    @pytest.mark.parametrize("first", ["close", "destroy"])
    def test_nothing_is_left(self, bench: Bench, attached: tuple[int, ...], first: str) -> None:
        clients = bench.client(), bench.client(user=True)
        flow = bench.create(*clients)
        ends = [clients[n].attach(*bench.sent(flow.grant(n)), BLOCKING) for n in attached]
        for end in ends:
            for _ in range(10):
                end.write(b"never read")
        if first == "destroy":
            flow.destroy()
        for end in ends:
            end.close()
        flow.destroy()
        assert not bench.used()

    def test_many_lives_leave_neither_blocks_nor_descriptors(self, bench: Bench) -> None:
        one, two = bench.client(), bench.client()
        before = 0
        for life in range(60):
            a, b = bench.flow(one, two)
            for end in (a, b):
                end.write(b"unread")
            a.close()
            if life % 2:
                b.close()
            bench.flows.pop().destroy()
            b.close()
            if life == 10:
                before = len(os.listdir("/proc/self/fd"))
        assert not bench.used()
        assert len(os.listdir("/proc/self/fd")) <= before

    # ---- the end of a client

    @pytest.mark.parametrize("died", [True, False])
    def test_a_client_leaves(self, bench: Bench, died: bool) -> None:
        gone, stays = bench.client(), bench.client()
        a, b = bench.flow(gone, stays)
        other, silent = bench.flow(gone, stays)
        third, fourth = bench.flow(stays, stays)
        a.write(b"last words")
        held = other.alloc(10)
        fill(b)
        reader = Background(silent.read).settle()
        b.set_options(BLOCKING)
        writer = Background(lambda: b.write(b"never")).settle()
        assert sorted(bench.broker.leave(gone.ref, died)) == [1, 2]
        for waiting in (reader, writer):
            with pytest.raises(FlowDown):
                waiting.result()
        ended = State.DEAD | State.DOWN if died else State.CLOSED
        assert b.state & ended == ended
        assert b.read() == b"last words"
        with pytest.raises(FlowDown):
            b.read()
        third.write(b"bystander")
        assert fourth.read() == b"bystander"
        b.close()
        assert not bench.used()
        del held

    def test_a_dead_flow_is_not_revived(self, bench: Bench) -> None:
        gone, stays = bench.client(), bench.client()
        _, b = bench.flow(gone, stays)
        bench.broker.leave(gone.ref, died=True)
        try:
            bench.flows[0].up()
        except OuroError:
            pass  # refused, one way or the other
        b.mark(clear=State.DOWN)
        with pytest.raises(FlowDown):
            b.write(b"x")

    @pytest.mark.parametrize("by_end", [True, False])
    def test_how_a_flow_ended_first_is_how_it_ended(self, bench: Bench, by_end: bool) -> None:
        gone, stays = bench.client(), bench.client()
        a, b = bench.flow(gone, stays)
        a.write(b"last words")
        if by_end:
            a.close()
        else:
            bench.flows[0].down(State.CLOSED)
        bench.broker.leave(gone.ref, died=True)
        bench.flows[0].down(State.DEAD | State.DOWN)
        assert b.state & (State.CLOSED | State.DEAD | State.DOWN) == State.CLOSED
        assert b.read() == b"last words"
        with pytest.raises(FlowDown):
            b.read()

    def test_leaving_twice_or_never_come(self, bench: Bench) -> None:
        client = bench.client()
        assert list(bench.broker.leave(client.ref, died=True)) == []
        assert list(bench.broker.leave(client.ref, died=True)) == []
        assert list(bench.broker.leave(bench.ref(), died=False)) == []

    def test_a_closed_client_has_closed_its_ends(self, bench: Bench) -> None:
        a, b = bench.joined()
        mine = bench.clients[0]
        x, _ = mine.pair()
        x.write(b"unread")
        a.write(b"before")
        mine.close()
        mine.close()
        assert b.state & State.CLOSED
        assert _all_queued(b) == [b"before"]
        with pytest.raises(OuroError):
            a.write(b"x")
        with pytest.raises(OuroError):
            mine.pair()
        assert not bench.used()

    def test_options_of_attach(self, bench: Bench) -> None:
        _, b = bench.flow(bench.client(), bench.client(), Options(read_timeout=0.01))
        with pytest.raises(FlowTimeout):
            b.read()


def _all_queued(end: FlowEnd) -> list[bytes]:
    """What is queued at an end whose flow has ended."""
    found: list[bytes] = []
    while True:
        try:
            found.append(end.read())
        except FlowDown:
            return found
