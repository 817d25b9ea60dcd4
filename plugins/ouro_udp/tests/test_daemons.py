"""Two daemons on the loopback interface, as whoever runs the tests, and the commands a user types."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ouro_core.model.irm_requests import BindProcess, DestroyIpcp, ListIpcps, RegName, UnregName
from ouro_core.testing.host import Host, eventually

from .conftest import Bind, free_port
from .test_nameserver import md5

pytest.importorskip("ouro_tools", reason="needs oping, of ouro-tools")
OPING = [sys.executable, "-c", "from ouro_tools.oping import main; main()"]
CONFIG = "[irmd]\ndirect = false\n"


class Two:
    """A host that serves the name oping, and one that allocates flows to it."""

    def __init__(self, stack: ExitStack, directory: Path, server: str, client: str) -> None:
        for name in ("server", "client"):
            (directory / name).mkdir()
        self.server = stack.enter_context(Host(directory / "server", CONFIG + server))
        self.client = stack.enter_context(Host(directory / "client", CONFIG + client))

    def serve(self) -> "subprocess.Popen[str]":
        program = self.server.spawn([*OPING, "-l", "-Q"])
        self.server.call(BindProcess(program.pid, "oping"))
        return program

    def ping(self, *words: str) -> str:
        done = self.client.run([*OPING, "-n", "oping", "-c", "5", "-i", "5", *words])
        assert done.returncode == 0, done.stdout + done.stderr
        assert "5 received" in done.stdout, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def pair(kind: str, *, more: str = "") -> tuple[str, str]:
    """Tables of the configuration files of both hosts."""
    first, second = free_port(), free_port()
    if kind == "udp6":
        server = f'[udp6.u]\nbootstrap = "net"\nip = "::1"\nport = {first}\nreg = ["oping"]\n'
        client = f'[udp6.u]\nbootstrap = "net"\nip = "::1"\nport = {second}\npeers = ["oping=[::1]:{first}"]\n'
    else:
        server = f'[{kind}.u]\nbootstrap = "net"\nip = "127.0.0.2"\nport = {first}\nreg = ["oping"]\n'
        client = f'[{kind}.u]\nbootstrap = "net"\nip = "127.0.0.3"\nport = {first}\npeers = ["oping=127.0.0.2"]\n'
    return server + more, client + more


@pytest.mark.parametrize("kind", ["udp4", "udp6", "udp"])
def test_oping(stack: ExitStack, tmp_path: Path, kind: str) -> None:
    two = Two(stack, tmp_path, *pair(kind))
    two.serve()
    for qos in ("raw", "data"):
        two.ping("-q", qos)
    two.ping("-s", "1500")
    frames = two.server.rib("ipcps/u/frames")
    assert frames["rx"] >= 15
    assert not any(frames[why] for why in ("short", "unknown_key", "bad_source", "ring_full", "too_long", "tx_error"))
    assert two.client.rib("ipcps/u/info")["type"] == ("udp6" if kind == "udp6" else "udp4")
    assert two.client.rib("ipcps/u/info")["hash"] == "MD5"


@pytest.mark.parametrize("kind", ["udp4", "udp6"])
def test_encrypted_and_refused(stack: ExitStack, tmp_path: Path, kind: str) -> None:
    for side, host in (("server", "server"), ("client", "client")):
        folder = tmp_path / f"security-{host}" / side / "oping"
        folder.mkdir(parents=True)
        (folder / "enc.conf").write_text("kex = X25519\ncipher = aes-256-gcm\n")
    server, client = pair(kind)
    two = Two(
        stack, tmp_path, f'security = "{tmp_path}/security-server"\n' + server,
        f'security = "{tmp_path}/security-client"\n' + client,
    )  # fmt: skip
    two.serve()
    two.ping()
    (tmp_path / "security-client" / "client" / "oping" / "enc.conf").unlink()
    done = two.client.run([*OPING, "-n", "oping", "-c", "1"])
    assert "Failed to allocate flow: -1008." in done.stdout


def test_the_alias_wherever_a_type_is_named(stack: ExitStack, tmp_path: Path) -> None:
    host = stack.enter_context(Host(tmp_path))
    host.ouro("ipcp", "create", "name", "a", "type", "udp")
    host.ouro(
        "ipcp", "bootstrap", "name", "b", "type", "udp", "layer", "net", "ip", "127.0.0.4", "port", str(free_port())
    )
    listed = json.loads(host.ouro("ipcp", "list", "type", "udp", "--json"))
    assert sorted((i["name"], i["type"]) for i in listed) == [("a", "udp4"), ("b", "udp4")]
    assert not json.loads(host.ouro("ipcp", "list", "type", "udp6", "--json"))


def test_what_the_commands_say(stack: ExitStack, tmp_path: Path) -> None:
    host = stack.enter_context(Host(tmp_path, CONFIG + "[udp4.u]\n"))
    command = [sys.executable, "-P", "-m", "ouro_core.cli", "ipcp", "bootstrap", "name", "u", "layer", "net"]
    for words, fault in (
        ("ip 203.0.113.7", "203.0.113.7 is no IPv4 address of this machine. Give ip one that it has: 127.0.0.1"),
        ("ip 0.0.0.0", 'Cannot use IPv4 address: "0.0.0.0".'),
        ("ip 127.0.0.3 dns none", 'Invalid DNS IPv4 address: "none".'),
    ):
        done = host.run([*command, *words.split()])
        assert done.returncode == 1
        assert fault in done.stdout + done.stderr
        assert "Traceback" not in done.stderr + host.log.read_text()
    host.ouro(*command[4:], "ip", "127.0.0.3", "port", str(free_port()))


def test_a_name_server(stack: ExitStack, tmp_path: Path, bind: Bind) -> None:
    """Names come and go with their registration, and with the IPCP."""
    port = free_port()
    both = [
        f'[udp4.u]\nbootstrap = "net"\nip = "127.0.0.{n}"\nport = {port}\ndns = "127.0.0.1"\ndns_port = {bind.port}\n'
        for n in (5, 6)
    ]
    two = Two(stack, tmp_path, *both)
    hash = md5("oping").hex()
    two.serve()
    [ipcp] = two.server.call(ListIpcps()).ipcps
    done = two.client.run([*OPING, "-n", "oping", "-c", "1"])
    assert done.returncode == 1, "nobody has registered it"
    two.server.call(RegName("oping", ipcp.id))
    assert bind.records(hash, "A") == [(86400, "127.0.0.5")]
    two.ping()
    assert two.client.rib("ipcps/u/directory") == {hash: [f"127.0.0.5:{port}"]}
    two.server.call(UnregName("oping", ipcp.id))
    assert not bind.records(hash, "A")
    two.server.call(RegName("oping", ipcp.id))
    two.server.call(DestroyIpcp(ipcp.id))
    assert not bind.records(hash, "A"), "an IPCP takes its names along"


def test_names_that_the_name_server_keeps_are_named(stack: ExitStack, tmp_path: Path) -> None:
    """It ends before the IPCP, which does not wait long for it."""
    server = Bind()
    try:
        table = f'ip = "127.0.0.5"\nport = {free_port()}\ndns = "127.0.0.1"\ndns_port = {server.port}\n'
        host = stack.enter_context(Host(tmp_path, f'{CONFIG}[udp4.u]\nbootstrap = "net"\n{table}reg = ["oping"]\n'))
        assert server.records(md5("oping").hex(), "A")
    finally:
        server.close()
    host.ouro("ipcp", "destroy", "name", "u")
    kept = f"kept names at 127.0.0.5, where nobody is now; remove them there: {md5('oping').hex()}"
    eventually(lambda: kept in host.log.read_text())


def test_a_name_server_that_is_not_there(stack: ExitStack, tmp_path: Path) -> None:
    table = f'[udp4.u]\nbootstrap = "net"\nip = "127.0.0.7"\nport = {free_port()}\ndns = "127.0.0.8"\ndns_port = 9\n'
    host = stack.enter_context(Host(tmp_path, CONFIG + table))
    done = host.run([sys.executable, "-P", "-m", "ouro_core.cli", "name", "reg", "oping", "layer", "net"])
    assert done.returncode == 1
    assert "name server 127.0.0.8:9" in done.stderr
    assert host.rib("ipcps/u/registry") == {"hashes": []}
    host.ouro("ipcp", "destroy", "name", "u")


def test_an_application_that_dies_frees_its_endpoint(stack: ExitStack, tmp_path: Path) -> None:
    two = Two(stack, tmp_path, *pair("udp4"))
    server = two.serve()
    pinging = two.client.spawn([*OPING, "-n", "oping", "-i", "5", "-Q"])
    eventually(
        lambda: two.server.rib("ipcps/u/endpoints")["in_use"] == 1 == two.client.rib("ipcps/u/endpoints")["in_use"]
    )
    pinging.kill()
    eventually(lambda: two.client.rib("ipcps/u/endpoints")["in_use"] == 0)
    server.kill()
    eventually(lambda: two.server.rib("ipcps/u/endpoints")["in_use"] == 0)
    two.serve()
    two.ping()
