"""Keys of `bootstrap` are those of the installed types; values that will not do are named as the prototype does it."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ouro_core.cli.irm import run
from ouro_core.cli.plugins import plugins
from ouro_core.model.errors import Exists, IpcpError, NotPermitted
from ouro_core.model.irm_requests import BindIpcp, BootstrapIpcp, CreateIpcp, DestroyIpcp, UnbindIpcp
from ouro_core.model.layer import LayerInfo

TYPES = """
import ipaddress
from attrs import frozen
from ouro_core.contracts.ipcp import Ipcp
from ouro_core.hookspecs import hookimpl
from ouro_core.model.config import integer, option, text

def address(value):
    found = ipaddress.IPv4Address(value)
    if found.is_unspecified:
        raise ValueError("needs an address of this host")
    return found

@frozen
class Udp:
    ip: object = option(parse=address, help="address of this host")
    dns: object = option(None, parse=ipaddress.IPv4Address, help="name server")
    port: int = option(3435, parse=integer(1, 65535), help="port")

@frozen
class Eth:
    device: str = option(parse=text(15), help="network device")
    ethertype: int = option(0xA000, parse=integer(0x600, 0xFFFE, base=16), help="ethertype")

@frozen
class Tunnel:
    depth: int = option(1, parse=integer(1, 9), help="depth", keyword="tunnel_depth")

class _Type(Ipcp):
    async def stop(self):
        pass

class Udp4(_Type):
    name, Config = "udp4", Udp

class EthDix(_Type):
    name, Config = "eth-dix", Eth

class Example(_Type):
    name, Config, components = "tunnel", Tunnel, ("Management",)

@hookimpl
def ouro_register_ipcp_types():
    return [Udp4, EthDix, Example]
"""


@pytest.fixture(autouse=True)
def types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, irm: Any) -> None:
    """A distribution with types of its own; other plugins are left out."""
    site = tmp_path / "site"
    info = site / "example_types-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example-types\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[ouro]\nexample-types = example_types\n")
    (site / "example_types.py").write_text(TYPES)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("OURO_PLUGINS", "example-types")
    irm.types += ("udp4", "eth-dix", "tunnel")


def bootstrap(line: str) -> int:
    return run(["ipcp", "bootstrap", "name", "a", "layer", "net", *line.split()])


def test_abbreviations_of_types_and_keys(irm: Any) -> None:
    assert bootstrap("t udp i 192.0.2.1 p 4000") == 0
    options = {"ip": "192.0.2.1", "port": "4000"}
    assert irm.changes() == [CreateIpcp("udp4", "a"), BootstrapIpcp(1, LayerInfo("net"), options)]
    irm.ipcps.clear()
    assert bootstrap("t eth dev eth0 e a100") == 0
    assert irm.changes()[-1].options == {"device": "eth0", "ethertype": "a100"}


def test_keys_of_other_types_come_last(irm: Any) -> None:
    assert bootstrap("type tun tu 3") == 0
    assert irm.changes()[-1].options == {"depth": "3"}
    irm.ipcps.clear()
    assert bootstrap("type tunnel ttl 3") == 0
    assert irm.changes()[-1].options == {}


@pytest.mark.parametrize(
    ("line", "says"),
    [("type udp4 ip 1.2.3", 'Invalid IPv4 address: "1.2.3".\nUsage: '),
     ("type udp4 ip 0.0.0.0", 'Cannot use IPv4 address: "0.0.0.0".\nUsage: '),
     ("type udp4 ip 192.0.2.1 dns x", 'Invalid DNS IPv4 address: "x".\nUsage: '),
     ("type udp4 ip 192.0.2.1 port 0", 'Unknown parameter for port: "0".\n'),
     ("type udp4", "Usage: "),
     ("type eth-dix", "Usage: "),
     ("type eth-dix dev eth0 ethertype 05ff", 'Invalid Ethertype: "05ff".\nRecommended range: 0xA000-0xEFFF.\n'),
     ("type eth-dix dev eth0 ethertype ffff", 'Invalid Ethertype: "ffff".\nRecommended range: 0xA000-0xEFFF.\n'),
     (f"type eth-dix dev {'x' * 256}", "Device name too long.\nUsage: "),
     ("type tunnel tunnel_depth 10", 'Unknown parameter for tunnel_depth: "10".\n')],
)  # fmt: skip
def test_values_that_will_not_do(line: str, says: str, irm: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert bootstrap(line) == 1
    assert capsys.readouterr().out.startswith(says)
    assert irm.changes() == [], "nothing was created"


def test_the_type_of_an_ipcp_that_is_there_counts(irm: Any, capsys: pytest.CaptureFixture[str]) -> None:
    irm.add("a", "udp4")
    assert bootstrap("") == 1, "its address is needed all the same"
    assert bootstrap("ip 192.0.2.1") == 0
    assert irm.changes()[-1].options == {"ip": "192.0.2.1"}


def test_a_type_that_is_not_installed(irm: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert bootstrap("type unicast autobind") == 1
    out, err = capsys.readouterr()
    assert out.startswith("Usage: ")
    assert "ouro-unicast" in err


def test_names_are_bound_first_and_unbound_after_a_failure(irm: Any) -> None:
    assert bootstrap("type tunnel autobind") == 0
    binds = [BindIpcp(1, "a"), BindIpcp(1, "net")]
    layer = BootstrapIpcp(1, LayerInfo("net"), {})
    assert irm.changes() == [CreateIpcp("tunnel", "a"), *binds, layer]
    irm.asked.clear()
    irm.refuse[BootstrapIpcp] = IpcpError("no")
    assert bootstrap("autobind") == 1
    assert irm.changes() == [*binds, layer, UnbindIpcp(1, "a"), UnbindIpcp(1, "net")]


def test_a_failed_binding(irm: Any, capsys: pytest.CaptureFixture[str]) -> None:
    irm.refuse[BindIpcp] = NotPermitted("no")
    assert bootstrap("type tunnel autobind") == 1
    assert capsys.readouterr().out == "Failed to bind 4711 to a.\n"
    assert not any(isinstance(request, BootstrapIpcp) for request in irm.asked)
    assert irm.changes()[-1] == DestroyIpcp(1)


@pytest.mark.parametrize(("word", "works"), [("tun", True), ("udp4", False)])
def test_types_that_can_be_enrolled(word: str, works: bool, irm: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ipcp", "enroll", "name", "a", "layer", "net", "type", word]) == (0 if works else 1)
    assert ("tunnel" in capsys.readouterr().err) is not works


def test_help_shows_what_the_installed_types_take(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ipcp", "help"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["udp4", "ip", "IP", "[dns", "DNS]", "[port", "3435]"] in lines
    assert ["tunnel", "[tunnel_depth", "1]", "[autobind]"] in lines
    assert not [line for line in lines if line[:1] == ["unicast"]]


def test_plugins_info_shows_options(capsys: pytest.CaptureFixture[str]) -> None:
    result = CliRunner().invoke(plugins, ["info", "example-types"])
    assert "udp4 has:       port (default 3435): port" in result.stdout
    assert "udp4 has:       ip (required): address of this host" in result.stdout


def test_names_that_are_bound_already(irm: Any) -> None:
    irm.add("net", "tunnel")
    assert run(["ipcp", "bootstrap", "name", "net", "layer", "net", "autobind"]) == 0
    assert irm.changes() == [BindIpcp(1, "net"), BootstrapIpcp(1, LayerInfo("net"), {})], "one name, bound once"
    irm.asked.clear()
    irm.refuse[BindIpcp] = Exists("bound already")
    assert run(["ipcp", "bootstrap", "name", "net", "layer", "other", "autobind"]) == 0
