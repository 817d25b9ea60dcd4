"""Two members over links that lose, double, delay, reorder and damage datagrams, in virtual time."""

from collections.abc import Iterable
from random import Random
from typing import Any

import pytest
from ouro_udp.wire import UdpCodec

from ouro_core.model.capability import Capability
from ouro_core.model.qos import DATA
from ouro_core.shim import Answered, Arrived, Management
from ouro_core.testing.links import Faulty
from ouro_core.testing.network import Network

HASH = bytes(range(16))
FAULTS: dict[str, dict[str, float]] = {
    "loss": {"loss": 0.1},
    "doubles": {"duplication": 0.5, "reordering": 0.5},
    "all": {"loss": 0.08, "duplication": 0.2, "reordering": 0.3, "delay": 0.05},
}


class Member:
    """Accepts what is asked for, at endpoints of its own, with the request backwards."""

    def __init__(self, seed: int) -> None:
        self.management: Management[str] = Management(
            UdpCodec(), Random(seed), 2048, Capability.FRAGMENTS, any_name=True
        )
        self.accepted: list[bytes] = []
        self.answers: dict[int, bytes] = {}
        self.receive = self.management.receive
        self.next_timeout = self.management.next_timeout
        self.handle_timeout = self.management.handle_timeout

    def datagrams_to_send(self, now: float) -> Iterable[tuple[str, bytes]]:
        for event in self.management.events():
            if isinstance(event, Arrived) and event.request.hash == HASH and event.request.qos == DATA:
                self.accepted.append(event.request.data)
                self.management.accept(event.request, 1000 + len(self.accepted), event.request.data[::-1], now)
            elif isinstance(event, Answered):
                self.answers[event.eid] = event.data
        return self.management.datagrams_to_send(now)


def run(fault: dict[str, Any], size: int, seed: int) -> tuple[dict[int, bytes], Member, Member]:
    """Eight requests by endpoint, and who asked and who answered, a minute later."""
    network, client, server = Network(), Member(seed), Member(seed + 100)
    for source, sink in (("client", "server"), ("server", "client")):
        network.link(source, sink, Faulty(seed + ord(source[0]), **fault))
    network.add("client", client)  # type: ignore[arg-type]
    network.add("server", server)  # type: ignore[arg-type]
    requests = {eid: Random(eid).randbytes(size) for eid in range(64, 72)}
    for eid, data in requests.items():
        client.management.request(eid, "server", HASH, DATA, data, network.now)
        network.wake("client")
        network.run_until(network.now + 0.05)
    network.run_until(network.now + 60.0)
    return requests, client, server


@pytest.mark.parametrize("size", [100, 6000])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("seed", range(3))
def test_every_request_is_offered_and_answered_once(fault: dict[str, Any], size: int, seed: int) -> None:
    requests, client, server = run(fault, size, seed)
    assert client.answers == {eid: data[::-1] for eid, data in requests.items()}
    assert sorted(server.accepted) == sorted(requests.values())


@pytest.mark.parametrize("seed", range(3))
def test_damage(seed: int) -> None:
    """UDP's check sum finds it, as a rule. What it does not find, OAP does: here it is enough that all goes on."""
    requests, client, _ = run({"corruption": 0.2}, 100, seed)
    assert len(client.answers.keys() & requests.keys()) >= len(requests) - 2
