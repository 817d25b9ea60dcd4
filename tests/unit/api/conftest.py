"""Flows over a pair of either packet system, without an IRM."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attrs import frozen

from ouro_core.api.flow import Flow, load_suite
from ouro_core.contracts.packets import SHARED_GEOMETRY, USER_GEOMETRY, ClientRef, Domain, Options, PacketClient
from ouro_core.frct.ordered import above
from ouro_core.frct.pipeline import stages_for
from ouro_core.model.flow import Grant
from ouro_core.model.irm_requests import Allocation
from ouro_core.model.qos import RAW, QosSpec
from ouro_core.plugins import PluginHost
from ouro_core.rpc.fds import dup_grant
from ouro_core.wire.oap import CIPHER_NIDS

SYSTEMS = ("heap", "ssm")
KEY = bytes(range(32))


@pytest.fixture(scope="session")
def plugins() -> PluginHost:
    return PluginHost.from_environment({})


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest, plugins: PluginHost) -> Any:
    """A packet system that works here."""
    found = plugins.pool_allocators.get(request.param)
    if found is None:
        pytest.skip(f"packet system {request.param} is not installed")
    obstacle = found.usable()
    if obstacle:
        pytest.skip(f"packet system {request.param}: {obstacle}")
    return found


@pytest.fixture
def client(system: Any) -> Iterator[PacketClient]:
    broker = system.broker(SHARED_GEOMETRY, USER_GEOMETRY)
    ref = ClientRef(1, Domain())
    grant = broker.admit(ref)
    fds = dup_grant(grant).fds
    client = system.client(grant.data, fds)
    yield client
    client.close()
    broker.leave(ref, False)
    broker.close()


@frozen
class Encrypted:
    """A QoS of flows that are encrypted."""

    qos: QosSpec
    cipher: str = "aes-256-gcm"

    def allocation(self, number: int, grant: Grant, key: bytes = KEY) -> Allocation:
        nid = CIPHER_NIDS[self.cipher]
        return Allocation(number, grant, self.qos, 1, "name", False, b"data", nid, key, self.cipher, "classic")


class Pair:
    """Both ends of a flow, and the ids that were deallocated."""

    def __init__(self, client: PacketClient, kind: QosSpec | Encrypted = RAW) -> None:
        self.deallocated: list[int] = []
        a, b = client.pair()
        self.flows = [self._flow(client, number, end, kind) for number, end in enumerate((a, b), 1)]

    def _flow(self, client: PacketClient, number: int, end: Any, kind: QosSpec | Encrypted) -> Flow:
        options = Options()
        if isinstance(kind, Encrypted):
            allocation = kind.allocation(number, Grant(b""))
        else:
            allocation = Allocation(number, Grant(b""), kind, 1, "name", data=b"data")
        stages = stages_for(allocation, load_suite)
        path = above(end, stages, allocation, options)
        return Flow(allocation, client, end, path, options, lambda flow: self.deallocated.append(flow.flow_id))


@pytest.fixture
def make_pair(client: PacketClient) -> Iterator[Callable[..., Pair]]:
    made = []

    def make(kind: QosSpec | Encrypted = RAW) -> Pair:
        made.append(Pair(client, kind))
        return made[-1]

    yield make
    for pair in made:
        for flow in pair.flows:
            flow.close()
