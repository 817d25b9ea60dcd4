"""Lines of the log have the prototype's components, levels and words, where it has any (unicast.md 14)."""

import logging
import re
from typing import Any, Final

import pytest
from unicast_net import Net

from ouro_core.model.errors import OuroError
from ouro_core.model.log import TextFormatter

ADDRESS: Final = r"[0-9a-f]{2}(\.[0-9a-f]{2}){3}"
LINES: Final = (
    r"unicast-ipcp\(II\): IPCP got address \d+\.",
    rf"flat-addr-auth\(DB\): Flat address initialized to {ADDRESS}\.",
    r"ca\(DB\): Using multi-bit ECN\.",
    r"pff\(DB\): Using alternate PFF policy\.",
    r"directory\(II\): Using FLOOD policy\.",
    r"link-state-routing\(DB\): Using Loop-Free Alternates policy\.",
    r"link-state-routing\(DB\): LS update interval: 15 seconds\.",
    rf"link-state-routing\(DB\): Type mgmt neighbor {ADDRESS} added\.",
    rf"link-state-routing\(DB\): Type dt neighbor {ADDRESS} added\.",
    r"unicast-ipcp\(II\): \[[0-9a-f]{16}\] Requesting enrollment\.",
    r"unicast-ipcp\(II\): \[[0-9a-f]{16}\] Enrolled with n1\.",
    r"enrollment\(II\): Incoming enrollment connection on flow \d+\.",
    r"enrollment\(II\): \[[0-9a-f]{16}\] Handling incoming enrollment\.",
    r"enrollment\(DB\): \[[0-9a-f]{16}\] Sending enrollment info \(\d+ bytes\)\.",
    r"enrollment\(DB\): \[[0-9a-f]{16}\] Received configuration info \(\d+ bytes\)\.",
    r"enrollment\(II\): \[[0-9a-f]{16}\] Enrollment completed\.",
    r"enrollment\(II\): Enrollment flow \d+ closed\.",
    r"connection-manager\(II\): Handling incoming flow \d+\.",
    r"connection-manager\(DB\): Sending OCEP info for protocol OEP to fd \d+\.",
    r"connection-manager\(II\): Request to connect to Data Transfer\.",
    r"connection-manager\(II\): Finished handling incoming flow \d+ for Management\.",
    r"dt\(DB\): Added fd \d+ to packet scheduler\.",
    r"dt\(DB\): Removed fd \d+ from packet scheduler\.",
)


@pytest.mark.parametrize("net", ["heap"], indirect=True)
async def test_lines_of_a_layer(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "ouro")
    await net.line("n1", "n2", routing="lfa")
    await net.irm.disconnect_ipcp("n2", "n1")
    _expect(caplog, LINES)


@pytest.mark.parametrize("net", ["heap"], indirect=True)
async def test_lines_without_congestion_avoidance(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "ouro")
    await net.line("n1", "n2", congestion="none", routing="ecmp")
    _expect(caplog, (r"ca\(DB\): Disabling congestion control\.", r"pff\(DB\): Using multipath PFF policy\."))


@pytest.mark.parametrize("net", ["heap"], indirect=True)
async def test_a_component_that_there_is_not(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "ouro")
    await net.member("n1", "net")
    ipcp = await net.irm.create_ipcp("b1", "broadcast")
    await net.irm.bootstrap_ipcp(ipcp, "news", {})
    with pytest.raises(OuroError):
        await net.irm.connect_ipcp("b1", "n1")
    _expect(
        caplog, (r"connection-manager\(EE\): Error receiving OCEP info: Connection request for unknown component .*",)
    )


def _expect(caplog: pytest.LogCaptureFixture, lines: tuple[str, ...]) -> None:
    form = TextFormatter()
    said: Any = {re.sub(r"^==\d+== ", "", form.format(record)) for record in caplog.records}
    for line in lines:
        assert any(re.fullmatch(line, s) for s in said), f"{line}\n" + "\n".join(sorted(said))
