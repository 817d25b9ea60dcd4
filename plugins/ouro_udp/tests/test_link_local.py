"""Members that have nothing but link-local addresses of IPv6, on one link between two namespaces. Needs root."""

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from ouro_core.model.irm_requests import BindProcess
from ouro_core.testing.host import Host, eventually
from ouro_core.testing.netns import Namespace, join, unusable

from .test_daemons import CONFIG, OPING

pytestmark = pytest.mark.skipif(unusable() is not None, reason=str(unusable()))


def link_local(network: Namespace) -> str:
    """The address of `v0`, once it may be used."""

    def found() -> str:
        [device] = json.loads(network.ip("-j", "-6", "addr", "show", "dev", "v0"))
        usable = [a["local"] for a in device["addr_info"] if a["scope"] == "link" and not a.get("tentative")]
        return str(usable[0]) if usable else ""

    return eventually(found)


@pytest.mark.parametrize("zone", ["%v0", ""], ids=["zone", "no zone"])
def test_oping(tmp_path: Path, zone: str) -> None:
    """In a hosts file the zone may be left out: it is that of our own address."""
    with ExitStack() as stack:
        networks = [stack.enter_context(Namespace()) for _ in range(2)]
        for network in networks:
            with network.inside():
                for switch in ("all", "default"):
                    Path(f"/proc/sys/net/ipv6/conf/{switch}/disable_ipv6").write_text("0")
        join(networks[0], "v0", networks[1], "v0")
        there, here = (link_local(network) for network in networks)
        hosts = tmp_path / "hosts"
        hosts.write_text(f"{there}{zone} oping\n")
        tables = (
            f'[udp6.u]\nbootstrap = "net"\nip = "{there}%v0"\nreg = ["oping"]\n',
            f'[udp6.u]\nbootstrap = "net"\nip = "{here}%v0"\nhosts = "{hosts}"\n',
        )
        members = []
        for number, (network, table) in enumerate(zip(networks, tables, strict=True)):
            (tmp_path / str(number)).mkdir()
            with network.inside():
                members.append(stack.enter_context(Host(tmp_path / str(number), CONFIG + table)))
        server, client = members
        program = server.spawn([*OPING, "-l", "-Q"])
        server.call(BindProcess(program.pid, "oping"))
        done = client.run([*OPING, "-n", "oping", "-c", "3", "-i", "5"])
        assert "3 received" in done.stdout, done.stdout + done.stderr + client.log.read_text()
        assert client.rib("ipcps/u/medium")["ip"] == f"{here}%v0"
