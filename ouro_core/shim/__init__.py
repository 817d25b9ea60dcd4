"""What types of IPCP over a legacy technology have in common: a layer whose members send each other datagrams.

Theory of operation. Such a type is a frame format, addresses and a socket; the rest is here. `Management` is the
protocol of flow allocation (spec: shims.md 2, 4.6, 5.4) without sockets and clocks: it takes management messages and
commands, and gives events and messages to send. `ShimIpcp` runs one in an asyncio loop, over a `Medium`: the pump of
the packet system moves the packets of flows, and management messages come out of it.

A type of one's own brings

    a codec    `Codec`: its management messages as values of `messages`
    a medium   `Medium`: its socket, the `PumpProgram` and the `Route`s, how a message is sent
    an IPCP    a subclass of `ShimIpcp`: `open` makes the medium, `lookup` finds a hash that the directory does not have

`plugins/ouro_eth` is one; its management adds queries for names to that of here. A type whose names are found some
other way, in a file or by a name service, needs no management of its own: `lookup` asks there, and `reg` and `unreg`
are overridden to say it there, after `super()`'s. `ouro_core.testing.shim` has kits for codec and medium,
`ouro_core.testing.ipcp` the one for the whole type.
"""

from .directory import Directory
from .endpoints import Endpoints
from .ipcp import ShimIpcp
from .management import Answered, Arrived, Event, Incoming, Management, Refused, Undelivered
from .medium import Medium
from .messages import Codec, Extension, FlowReply, FlowRequest, UnknownCode

__all__ = [
    "Answered",
    "Arrived",
    "Codec",
    "Directory",
    "Endpoints",
    "Event",
    "Extension",
    "FlowReply",
    "FlowRequest",
    "Incoming",
    "Management",
    "Medium",
    "Refused",
    "ShimIpcp",
    "Undelivered",
    "UnknownCode",
]
