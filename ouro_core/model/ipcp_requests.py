"""Requests of the IRM to an IPCP (spec: irmd.md 3.2, shims.md 1.4; the messages are our own).

One answer ends an allocation: `IpcpFlowAlloc` is answered when the far end replied, so neither side needs a second
message. Units as in `irm_requests`.
"""

from collections.abc import Mapping

from attrs import field, frozen

from .flow import Grant
from .irm_requests import PeerCapabilities, RibText
from .layer import LayerInfo
from .qos import RAW, QosSpec
from .request import Request


@frozen
class IpcpBootstrap(Request[LayerInfo]):
    """Found a layer. The reply is the layer as the IPCP made it (a type may force the hash)."""

    layer: LayerInfo
    options: Mapping[str, str] = field(factory=dict)


@frozen
class IpcpEnroll(Request[LayerInfo]):
    """Become a member of the layer that `dst` is in."""

    dst: str


@frozen
class IpcpReg(Request[None]):
    """Make a hash reachable in the layer."""

    hash: bytes


@frozen
class IpcpUnreg(Request[None]):
    """The reverse of `IpcpReg`."""

    hash: bytes


@frozen
class Found:
    """Whether the layer knows a hash."""

    found: bool


@frozen
class IpcpQuery(Request[Found]):
    """Is this hash in your layer?"""

    hash: bytes


@frozen
class IpcpCapabilities(Request[PeerCapabilities]):
    """What can the member do that this hash is registered at?"""

    hash: bytes


@frozen
class FlowReply:
    """The far end's answer: `data` is its OAP response, `mpl` the layer's maximum packet lifetime in milliseconds."""

    mpl: int
    data: bytes


@frozen
class IpcpFlowAlloc(Request[FlowReply]):
    """Allocate a flow. `grant` None: the type joins flows instead of carrying packets (`Ipcp.carries`)."""

    flow_id: int
    hash: bytes
    qos: QosSpec
    data: bytes
    grant: Grant | None = None


@frozen
class IpcpFlowJoin(Request[FlowReply]):
    """Join a broadcast layer."""

    flow_id: int
    hash: bytes
    grant: Grant


@frozen
class IpcpFlowDealloc(Request[None]):
    """The application gave the flow up. Answered when what it had written is sent and its end is free."""

    flow_id: int
    linger: float


@frozen
class IpcpConnect(Request[None]):
    """Connect a component with that of the member `dst`."""

    dst: str
    component: str
    qos: QosSpec = RAW


@frozen
class IpcpDisconnect(Request[None]):
    """The reverse of `IpcpConnect`."""

    dst: str
    component: str


@frozen
class IpcpAsk(Request[RibText]):
    """A question to a component; see `AskIpcp`."""

    component: str
    words: tuple[str, ...] = ()


@frozen
class IpcpShutdown(Request[None]):
    """End: flows go down, then the process leaves."""
