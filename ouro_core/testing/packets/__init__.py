"""The contract kit of packet systems: every sentence of `ouro_core.contracts.packets` as a test.

    from ouro_core.testing.packets import PacketSystemContract

    class TestMine(PacketSystemContract):
        system = MyPacketSystem

All clients and the broker live in the process of the test; a descriptor of a grant is duplicated where it would cross a
process. After each test everything is closed and the pools must be empty. `bench.py` and `wire.py` have what the tests
are built of, `programs.py` the four programs of the prototype's frames, as examples.
"""

import pytest

pytest.register_assert_rewrite(
    *(
        f"{__name__}.{name}"
        for name in ("broker", "ends", "events", "forwarder", "machine", "packet", "pump", "relay", "wire")
    )
)

from .broker import BrokerContract  # noqa: E402
from .ends import EndContract  # noqa: E402
from .events import EventSetContract  # noqa: E402
from .forwarder import ForwarderContract  # noqa: E402
from .machine import MachineContract  # noqa: E402
from .packet import PacketContract  # noqa: E402
from .pump import PumpContract  # noqa: E402
from .relay import RelayContract  # noqa: E402

__all__ = ["PacketSystemContract"]


class PacketSystemContract(
    EndContract,
    PacketContract,
    EventSetContract,
    BrokerContract,
    MachineContract,
    PumpContract,
    ForwarderContract,
    RelayContract,
):
    """Subclass it and set `system`. A part alone (`PumpContract`, say) works the same way."""
