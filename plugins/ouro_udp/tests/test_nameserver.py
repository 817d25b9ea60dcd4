"""The name server: a real one, one that is not there, and one that lies."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import dns.flags
import dns.message
import dns.rrset
import pytest
from ouro_udp.addresses import IPV4, IPV6
from ouro_udp.nameserver import ASKING, TTL, NameServer

from ouro_core.model.errors import FlowTimeout, IpcpError, OuroError
from ouro_core.model.names import HashAlgorithm, hash_name

from .conftest import Bind, free_port

OWN = IPV4.parse("127.0.0.3")
OWN6 = IPV6.parse("fd99::3")
HERE = IPV4.parse("127.0.0.1")


def md5(name: str) -> bytes:
    return hash_name(name, HashAlgorithm.MD5)


def server_at(port: int, own: object = OWN, asking: tuple[float, ...] = ASKING) -> NameServer:
    return NameServer(HERE.with_port(port), OWN6 if own is OWN6 else OWN, asking)


@pytest.mark.parametrize(("own", "record"), [(OWN, "A"), (OWN6, "AAAA")], ids=["udp4", "udp6"])
async def test_registration_and_removal(bind: Bind, own: object, record: str) -> None:
    server, hash = server_at(bind.port, own), md5(f"registered {record}")
    address = str(OWN6 if own is OWN6 else OWN)
    assert await server.find(hash) is None
    for _ in range(2):
        await server.add(hash)
        assert bind.records(hash.hex(), record) == [(TTL, address)]
    assert not bind.records(hash.hex(), "A" if record == "AAAA" else "AAAA")
    found = await server.find(hash)
    assert found is not None
    assert [str(a) for a in found.addresses] == [address]
    assert found.ttl == TTL == 86400
    for _ in range(2):
        await server.remove(hash)
        assert not bind.records(hash.hex(), record)
    assert await server.find(hash) is None


async def test_removal_leaves_other_members_alone(bind: Bind) -> None:
    hash = md5("served twice")
    first, second = (NameServer(HERE.with_port(bind.port), IPV4.parse(f"127.0.0.{n}")) for n in (4, 5))
    await first.add(hash)
    await second.add(hash)
    assert [value for _, value in bind.records(hash.hex(), "A")] == ["127.0.0.4", "127.0.0.5"]
    await first.remove(hash)
    assert [value for _, value in bind.records(hash.hex(), "A")] == ["127.0.0.5"]
    await second.remove(hash)


async def test_a_server_that_takes_no_updates() -> None:
    with Refusing() as bind:
        server = server_at(bind.port)
        with pytest.raises(IpcpError, match=r"refused registration of .*: REFUSED; .* allow updates"):
            await server.add(md5("x"))
        assert await server.find(md5("x")) is None


class Refusing(Bind):
    def __init__(self) -> None:
        super().__init__(allow="none")

    def __enter__(self) -> Bind:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def test_a_server_that_is_not_there() -> None:
    server = server_at(free_port())
    start = asyncio.get_running_loop().time()
    with pytest.raises(OuroError, match=r"did not answer within 1.5 s|cannot be reached"):
        await server.find(md5("x"))
    with pytest.raises(OuroError, match=r"did not answer|cannot be reached"):
        await server.add(md5("x"))
    assert asyncio.get_running_loop().time() - start < 20


async def test_a_server_that_comes_back() -> None:
    bind = Bind()
    try:
        server = server_at(bind.port)
        await server.add(md5("y"))
        bind.stop()
        with pytest.raises(OuroError):
            await server.find(md5("y"))
        bind.start()
        found = await server.find(md5("y"))
        assert found is not None
    finally:
        bind.close()


async def test_what_nsupdate_registers_is_found(bind: Bind) -> None:
    """As the prototype does it."""
    hash = md5("by nsupdate")
    text = f"server 127.0.0.1 {bind.port}\nupdate add {hash.hex()} 86400 A 10.9.8.7\nsend\nquit\n"
    try:
        nsupdate = await asyncio.create_subprocess_exec("nsupdate", stdin=subprocess.PIPE)
        await nsupdate.communicate(text.encode())
        assert nsupdate.returncode == 0
    except FileNotFoundError:
        pytest.skip("there is no nsupdate; install Debian's package bind9-dnsutils")
    found = await server_at(bind.port).find(hash)
    assert found is not None
    assert [str(a) for a in found.addresses] == ["10.9.8.7"]


# ---------------------------------------------------------------- lies

Lie = Callable[[bytes], list[bytes]]


class _Liar(asyncio.DatagramProtocol):
    def __init__(self, lie: Lie) -> None:
        self.lie = lie
        self.asked = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.asked += 1
        for answer in self.lie(data):
            self.transport.sendto(answer, address)


@asynccontextmanager
async def liar(lie: Lie, asking: tuple[float, ...] = ASKING) -> AsyncIterator[NameServer]:
    """A server that answers a query with these datagrams."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Liar(lie), local_addr=("127.0.0.1", 0)
    )
    try:
        yield server_at(transport.get_extra_info("sockname")[1], asking=asking)
    finally:
        transport.close()


def answered(query: bytes, *records: str) -> dns.message.Message:
    question = dns.message.from_wire(query)
    answer = dns.message.make_response(question)
    answer.flags |= dns.flags.AA
    for record in records:
        owner, kind, value = record.split(maxsplit=2)
        owner = str(question.question[0].name) if owner == "@" else owner
        answer.answer.append(dns.rrset.from_text(owner, 60, "IN", kind, value))
    return answer


def other_id(query: bytes) -> bytes:
    message = answered(query, "@ A 10.0.0.1")
    message.id ^= 1
    return message.to_wire()


def other_question(query: bytes) -> bytes:
    wire = bytearray(answered(query, "@ A 10.0.0.1").to_wire())
    wire[13] ^= 1  # the first letter of the name
    return bytes(wire)


SILENCE: dict[str, Lie] = {
    "nothing": lambda query: [],
    "no bytes": lambda query: [b""],
    "rubbish": lambda query: [b"\xff" * 100],
    "half": lambda query: [answered(query, "@ A 10.0.0.1").to_wire()[:20]],
    "the query": lambda query: [query],
    "another number": lambda query: [other_id(query)],
    "another question": lambda query: [other_question(query)],
    "a flood": lambda query: [bytes([n]) * 50 for n in range(200)],
}
NONSENSE: dict[str, tuple[Lie, str]] = {
    "the wildcard": (lambda query: [answered(query, "@ A 0.0.0.0").to_wire()], "where nobody can be: 0.0.0.0"),
    "everybody": (lambda query: [answered(query, "@ A 224.0.0.1").to_wire()], "where nobody can be"),
    "broadcast": (lambda query: [answered(query, "@ A 255.255.255.255").to_wire()], "where nobody can be"),
    "a circle": (lambda query: [answered(query, "@ CNAME a.", "a. CNAME b.", "b. CNAME a.").to_wire()], "nonsense"),
    "failure": (lambda query: [_code(query, 2)], "SERVFAIL"),
    "refusal": (lambda query: [_code(query, 5)], "REFUSED"),
}


def _code(query: bytes, code: int) -> bytes:
    message = answered(query)
    message.set_rcode(code)
    return message.to_wire()


@pytest.mark.parametrize("lie", SILENCE.values(), ids=SILENCE)
async def test_what_is_no_answer_is_passed_over(lie: Lie) -> None:
    async with liar(lie, asking=(0.1, 0.2)) as server:
        start = asyncio.get_running_loop().time()
        with pytest.raises(FlowTimeout, match="did not answer within"):
            await server.find(md5("x"))
        assert asyncio.get_running_loop().time() - start < 10


@pytest.mark.parametrize("lie", SILENCE.values(), ids=SILENCE)
async def test_the_true_answer_behind_it_counts(lie: Lie) -> None:
    async with liar(lambda query: [*lie(query)[:50], answered(query, "@ A 10.0.0.8").to_wire()]) as server:
        found = await server.find(md5("x"))
        assert found is not None
        assert [str(a) for a in found.addresses] == ["10.0.0.8"]


@pytest.mark.parametrize(("lie", "fault"), NONSENSE.values(), ids=NONSENSE)
async def test_nonsense_is_an_error(lie: Lie, fault: str) -> None:
    async with liar(lie) as server:
        with pytest.raises(IpcpError, match=fault):
            await server.find(md5("x"))


@pytest.mark.parametrize(
    "records",
    [["@ CNAME a."], ["else. A 10.0.0.1"], ["@ AAAA fd99::1"], []],
    ids=["no end", "of others", "IPv6", "none"],
)
async def test_answers_without_an_address(records: list[str]) -> None:
    async with liar(lambda query: [answered(query, *records).to_wire()]) as server:
        assert await server.find(md5("x")) is None


async def test_of_several_addresses_those_that_can_be_count() -> None:
    async with liar(lambda query: [answered(query, "@ A 0.0.0.0", "@ A 10.0.0.8").to_wire()]) as server:
        found = await server.find(md5("x"))
        assert found is not None
        assert [str(a) for a in found.addresses] == ["10.0.0.8"]


async def test_a_zone_that_is_not_above_the_name_is_not_updated() -> None:
    for lie in ([], ["example. SOA ns. admin. 1 1 1 1 1"]):
        async with liar(lambda query, lie=lie: [answered(query, *lie).to_wire()]) as server:  # type: ignore[misc]
            with pytest.raises(IpcpError, match="does not say which zone"):
                await server.add(md5("x"))


async def test_an_answer_from_elsewhere_does_not_count() -> None:
    """Somebody who is not the server guesses everything right."""
    loop = asyncio.get_running_loop()
    other, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))

    class Silent(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
            other.sendto(answered(data, "@ A 10.6.6.6").to_wire(), address)

    transport, _ = await loop.create_datagram_endpoint(Silent, local_addr=("127.0.0.1", 0))
    try:
        with pytest.raises(FlowTimeout):
            await server_at(transport.get_extra_info("sockname")[1], asking=(0.1, 0.2)).find(md5("x"))
    finally:
        transport.close()
        other.close()
