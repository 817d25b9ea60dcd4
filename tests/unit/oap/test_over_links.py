"""Pairs of client and server over links that lose, double, delay and damage."""

from collections.abc import Callable
from random import Random

import pytest

from ouro_core.model.errors import AuthenticationFailed, CryptError
from ouro_core.oap import OapClient, OapContext, OapResult, OapServer, OapSuites, ReplayGuard
from ouro_core.testing.links import Faulty
from ouro_core.testing.network import Network

EPOCH = 1_795_332_721_000_000_000


def wall(now: float) -> int:
    return EPOCH + int(now * 1e9)


class Allocator:
    """Allocates one flow, asking again with a fresh request every second until it has it."""

    def __init__(self, suites: OapSuites, random: Callable[[int], bytes]) -> None:
        self._client = OapClient(suites, random)
        self._context: OapContext | None = None
        self._next: float | None = 0.0
        self._out: list[bytes] = []
        self.asked = self.refused = 0
        self.result: OapResult | None = None

    def receive(self, data: bytes, now: float) -> None:
        assert self._context is not None
        if self.result is not None:
            return
        try:
            self.result = self._client.complete(self._context, data, wall(now))
        except CryptError:
            self.refused += 1
            return
        self._next = None

    def next_timeout(self) -> float | None:
        return self._next

    def handle_timeout(self, now: float) -> None:
        self._context = self._client.prepare("a.b", b"hello", wall(now))
        self._out.append(self._context.request)
        self.asked += 1
        self._next = now + 1.0

    def datagrams_to_send(self, now: float) -> list[bytes]:
        out, self._out = self._out, []
        return out


class Acceptor:
    def __init__(self, server: OapServer) -> None:
        self._server = server
        self._out: list[bytes] = []
        self.results: list[OapResult] = []
        self.refused = 0

    def receive(self, data: bytes, now: float) -> None:
        try:
            response, result = self._server.process(data, b"welcome", wall(now))
        except (AuthenticationFailed, CryptError):
            self.refused += 1
            return
        self.results.append(result)
        self._out.append(response)

    def next_timeout(self) -> None:
        return None

    def handle_timeout(self, now: float) -> None:
        raise AssertionError("has no time-out")

    def datagrams_to_send(self, now: float) -> list[bytes]:
        out, self._out = self._out, []
        return out


@pytest.mark.parametrize("seed", range(5))
def test_allocation_over_faulty_links(plain: OapSuites, seed: int) -> None:
    random = Random(seed)
    network, guard = Network(), ReplayGuard()
    pairs: list[tuple[Allocator, Acceptor]] = []
    for i in range(50):
        pair = Allocator(plain, random.randbytes), Acceptor(OapServer(plain, guard))
        links = [
            Faulty(seed * 1000 + 2 * i + end, loss=0.2, duplication=0.2, reordering=0.3, corruption=0.2)
            for end in (0, 1)
        ]
        network.connect(*pair, *links)
        pairs.append(pair)
    assert network.run_until(120.0, lambda: all(client.result for client, _ in pairs)), f"links {network.links()}"
    for client, server in pairs:
        assert client.result is not None
        ids = [result.id for result in server.results]
        assert len(ids) == len(set(ids)), f"a request was served twice, seed {seed}"
        assert client.result.id in ids
    assert sum(client.asked for client, _ in pairs) > len(pairs)
    assert sum(server.refused for _, server in pairs) > 0


def test_a_doubled_request_is_served_once(plain: OapSuites) -> None:
    client, server = Allocator(plain, Random(1).randbytes), Acceptor(OapServer(plain, ReplayGuard()))
    network = Network()
    network.connect(client, server, Faulty(1, duplication=1.0), Faulty(2, duplication=1.0))
    assert network.run_until(0.5, lambda: client.result is not None)
    network.run_until(5.0)
    assert (len(server.results), server.refused, client.refused) == (1, 1, 0)
    assert client.result is not None
    assert client.result.data == b"welcome"


def test_a_request_that_was_too_long_on_its_way_is_refused(plain: OapSuites) -> None:
    client, server = Allocator(plain, Random(1).randbytes), Acceptor(OapServer(plain, ReplayGuard()))
    network = Network()
    network.connect(client, server, Faulty(1, delay=21.0), Faulty(2))
    network.run_until(60.0)
    assert server.refused > 30
    assert client.result is None
