"""Where names are: the order of the sources, what is kept, and nobody who waits for ever."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ouro_udp import resolver as module
from ouro_udp.config import Udp4Config, Udp6Config, UdpConfig
from ouro_udp.resolver import Resolver
from ouro_udp.static import hash_of

from ouro_core.model.config import parse_config
from ouro_core.model.errors import ConfigError, FlowTimeout, OuroError

from .conftest import Bind, free_port
from .test_nameserver import answered, liar


class Bench:
    """A resolver, what it learnt, what it warned of."""

    def __init__(self, cls: type = Udp4Config, **texts: object) -> None:
        config: UdpConfig = parse_config(cls, {"ip": "127.0.0.2", **{key: str(v) for key, v in texts.items()}})
        self.learnt: list[tuple[bytes, str, float]] = []
        self.warnings: list[str] = []
        self.resolver = Resolver(
            config, lambda hash, at, seconds: self.learnt.append((hash, str(at), seconds)), self.warnings.append
        )

    async def find(self, name: str) -> str | None:
        address = self.resolver.static(hash_of(name)) or await self.resolver.find(hash_of(name))
        return None if address is None else str(address)


async def test_peers_come_first_then_the_hosts_file(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.6 a b\n")
    bench = Bench(peers="a=127.0.0.5,127.0.0.7:9", hosts=hosts)
    assert await bench.find("a") == "127.0.0.5:3435"
    assert await bench.find("b") == "127.0.0.6:3435"
    assert await bench.find("c") == "127.0.0.7:9", "the peer without a name"
    hosts.write_text("127.0.0.8 b\nrubbish c\n")
    assert await bench.find("b") == "127.0.0.6:3435"
    assert await bench.find("b") == "127.0.0.6:3435"
    assert len(bench.warnings) == 1
    assert "line 2" in bench.warnings[0]
    hosts.write_text("127.0.0.88 b\n")
    assert await bench.find("b") == "127.0.0.88:3435"
    hosts.unlink()
    for _ in range(3):
        assert await bench.find("b") == "127.0.0.88:3435"
    assert len(bench.warnings) == 2, "said once, not with each look-up"
    assert "No such file" in bench.warnings[1]


async def test_the_layer_s_port() -> None:
    assert await Bench(peers="a=127.0.0.5", port=77).find("a") == "127.0.0.5:77"


def test_a_hosts_file_that_is_none() -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        Bench(hosts="/no/such/file")


async def test_what_a_server_says_is_learnt_with_how_long_it_holds(bind: Bind) -> None:
    bench = Bench(dns="127.0.0.1", dns_port=bind.port)
    assert await bench.find("learnt") is None
    await bench.resolver.register(hash_of("learnt"))
    assert await bench.find("learnt") == "127.0.0.2:3435"
    await bench.resolver.unregister(hash_of("learnt"))
    assert bench.learnt == [(hash_of("learnt"), "127.0.0.2:3435", 86400)]
    assert await bench.find("learnt") is None


@pytest.mark.parametrize(("ttl", "kept"), [(0, 5.0), (60, 60.0), (2**31 - 1, 7 * 86400.0)])
async def test_how_long_any_answer_is_kept(ttl: int, kept: float) -> None:
    def answer(query: bytes) -> list[bytes]:
        message = answered(query, "@ A 10.0.0.8")
        message.answer[0].ttl = ttl
        return [message.to_wire()]

    async with liar(answer) as server:
        bench = Bench(dns="127.0.0.1", dns_port=server.at.port)
        assert await bench.find("any") == "10.0.0.8:3435"
        assert [seconds for _, _, seconds in bench.learnt] == [kept]


async def test_a_peer_without_a_name_has_what_the_server_does_not_know(bind: Bind) -> None:
    bench = Bench(dns="127.0.0.1", dns_port=bind.port, peers="127.0.0.9")
    assert await bench.find("elsewhere") == "127.0.0.9:3435"
    await bench.resolver.register(hash_of("elsewhere"))
    assert await bench.find("elsewhere") == "127.0.0.2:3435"
    await bench.resolver.unregister(hash_of("elsewhere"))


async def test_all_who_ask_share_a_look_up_and_one_who_leaves_does_not_end_it(bind: Bind) -> None:
    bench = Bench(dns="127.0.0.1", dns_port=bind.port)
    await bench.resolver.register(hash_of("shared"))
    first = asyncio.ensure_future(bench.find("shared"))
    others = [asyncio.ensure_future(bench.find("shared")) for _ in range(5)]
    await asyncio.sleep(0)
    assert len(bench.resolver._asked) == 1
    first.cancel()
    assert await asyncio.gather(*others) == ["127.0.0.2:3435"] * 5
    assert not bench.resolver._asked
    await bench.resolver.unregister(hash_of("shared"))


async def test_a_server_that_is_not_there_is_an_error_for_each_and_stays_none() -> None:
    bench = Bench(dns="127.0.0.1", dns_port=free_port())
    answers = await asyncio.gather(*(bench.find(name) for name in ("a", "a", "b")), return_exceptions=True)
    assert all(isinstance(answer, OuroError) for answer in answers)
    assert len(bench.warnings) == 2, "one for each name, however many asked"
    with pytest.raises(OuroError):
        await bench.resolver.register(hash_of("a"))
    lost = asyncio.ensure_future(bench.find("a"))
    await asyncio.sleep(0)
    lost.cancel()
    bench.resolver.close()
    await asyncio.wait(list(bench.resolver._asked.values()))


# ---------------------------------------------------------------- the machine's resolver

IN_PRIVATE = """
mount --bind {hosts} /etc/hosts && mount --bind {nsswitch} /etc/nsswitch.conf && exec {python} -c '{code}'
"""
CODE = """
import asyncio, sys
from ouro_udp.config import *
from ouro_udp.resolver import Resolver
from ouro_udp.static import hash_of
from ouro_core.model.config import parse_config
async def main():
    for cls, own in ((Udp4Config, "127.0.0.2"), (Udp6Config, "::1")):
        resolver = Resolver(parse_config(cls, dict(ip=own)), lambda *_: None, print)
        for name in ("oping", "unknown"):
            assert resolver.static(hash_of(name)) is None
            print(await resolver.find(hash_of(name)))
asyncio.run(main())
"""


def test_the_hosts_file_of_the_machine(tmp_path: Path) -> None:
    """The prototype's way without a name server: 32 digits as the name of a host."""
    hosts = tmp_path / "hosts"
    hosts.write_text(f"10.7.7.7 {hash_of('oping').hex()}\nfd99::7 {hash_of('oping').hex()}\n")
    nsswitch = tmp_path / "nsswitch.conf"
    nsswitch.write_text("hosts: files\n")
    script = IN_PRIVATE.format(hosts=hosts, nsswitch=nsswitch, python=sys.executable, code=CODE)
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-m"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody have mounts of his own")
    done = subprocess.run([*unshare, "sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["10.7.7.7:3435", "None", "[fd99::7]:3435", "None"], done.stderr


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """getaddrinfo hangs until this is set, as it does when no name server answers."""
    released = threading.Event()

    def hang(hash: bytes, family: object) -> None:
        released.wait(60)

    monkeypatch.setattr(module, "_getaddrinfo", hang)
    monkeypatch.setattr(module, "LONGEST", 0.2)
    yield released
    released.set()


async def test_a_resolver_that_hangs_stops_nobody(stuck: threading.Event) -> None:
    bench = Bench(peers="a=127.0.0.5")
    start = time.monotonic()
    waiting = [asyncio.ensure_future(bench.find(f"n{n}")) for n in range(3 * module.THREADS)]
    assert await bench.find("a") == "127.0.0.5:3435"
    assert threading.active_count() <= module.THREADS + 5
    done, _ = await asyncio.wait(waiting[: module.THREADS])
    assert all(isinstance(task.exception(), FlowTimeout) for task in done)
    assert time.monotonic() - start < 10
    stuck.set()
    await asyncio.wait(waiting)
    assert await bench.find("n0") is None


async def test_closing_while_look_ups_hang(stuck: threading.Event) -> None:
    bench = Bench()
    waiting = [asyncio.ensure_future(bench.find(f"n{n}")) for n in range(2 * module.THREADS)]
    await asyncio.sleep(0.05)
    bench.resolver.close()
    done, _ = await asyncio.wait(waiting)
    assert all(task.cancelled() for task in done)


def test_link_local_members() -> None:
    """What has no zone is on our own link."""
    config = parse_config(Udp6Config, {"ip": "fe80::1%lo", "dns": "::1"})
    resolver = Resolver(config, lambda *_: None, print)
    assert resolver.server is not None
    assert str(resolver.server._address("fe80::2")) == "fe80::2%lo"
