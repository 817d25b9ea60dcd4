"""Requests to the IRM, from applications, administrators and IPCPs (spec: irmd.md 3.1; the messages are our own).

Units: `mpl` and times of a `QosSpec` in milliseconds; `timeout` and `linger` in seconds. An `ipcp` is an `IpcpInfo.id`.
"""

from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from .capability import Capability
from .flow import FlowInfo, Grant
from .layer import IpcpInfo, LayerInfo
from .names import NameInfo
from .qos import RAW, QosSpec
from .request import Request

API: Final = (1, 0)
"""Version of these requests: applications and IRMds with another first number do not understand each other."""

# ---------------------------------------------------------------- applications (and IPCPs for flows of their own)


@frozen
class Announced:
    """What a process needs for packets: `system` is the name of the packet system, `plugin` the entry point that has
    it.
    """

    client: int
    system: str
    plugin: str
    grant: Grant
    version: str


@frozen
class Announce(Request[Announced]):
    """First request of a process, on the connection that stays open as long as it lives (the lifetime connection)."""

    program: str  # base name, for bindings of programs
    api: tuple[int, int] = API


@frozen
class Allocation:
    """One end of an allocated flow, for the application. `cipher` 0: the flow is not encrypted, else the NID of
    `key`'s; `suite` is the name of that cipher, `plugin` the entry point that has it.
    """

    flow_id: int
    grant: Grant
    qos: QosSpec
    mpl: int
    name: str
    direct: bool = False
    data: bytes = b""  # what the peer's application sent along
    cipher: int = 0
    key: bytes = field(default=b"", repr=False)
    suite: str = ""
    plugin: str = ""
    oap: bytes = b""  # the id of the exchange, as on the wire


@frozen
class FlowAlloc(Request[Allocation]):
    """A flow to a name. `timeout` None: 20 s."""

    dst: str
    qos: QosSpec = RAW
    timeout: float | None = None
    data: bytes = b""


@frozen
class FlowAccept(Request[Allocation]):
    """The next flow for a name this process is bound to. `timeout` None: for ever."""

    timeout: float | None = None
    data: bytes = b""


@frozen
class FlowJoin(Request[Allocation]):
    """A flow to everybody in a broadcast layer. `timeout` None: 20 s."""

    layer: str
    timeout: float | None = None


@frozen
class FlowDealloc(Request[None]):
    """Give up a flow of this process. The layer keeps its endpoint for `linger` seconds (delta-t quarantine of
    FRCT).
    """

    flow_id: int
    linger: float = 0.0


# ---------------------------------------------------------------- names and bindings


@frozen
class CreateName(Request[None]):
    """A name for the registry. A name that exists already is left as it is, which is no error, unless it should be open
    or have security files and does not: Exists.
    """

    info: NameInfo


@frozen
class DestroyName(Request[None]):
    """Take a name out of the registry, with its bindings. It is not unregistered from layers. UnknownName."""

    name: str


@frozen
class NameList:
    """Names in order of their bytes."""

    names: tuple[NameInfo, ...]


@frozen
class ListNames(Request[NameList]):
    """All names. Paths of security files are shown to the owner of a name and to administrators."""


@frozen
class BindProgram(Request[None]):
    """Processes of this program inherit the name when they announce; with `auto` it is started when nobody accepts."""

    path: str
    name: str
    args: tuple[str, ...] = ()
    auto: bool = False


@frozen
class UnbindProgram(Request[None]):
    """`program` is a path or a base name; an empty `name` stands for all its names. Running processes keep theirs."""

    program: str
    name: str = ""


@frozen
class BindProcess(Request[None]):
    """Let a process accept flows for a name. It must have announced. Creates the name when it is missing."""

    pid: int
    name: str


@frozen
class UnbindProcess(Request[None]):
    """An empty `name` stands for all names of the process."""

    pid: int
    name: str = ""


@frozen
class BindIpcp(Request[None]):
    """`BindProcess` for an IPCP."""

    ipcp: int
    name: str


@frozen
class UnbindIpcp(Request[None]):
    """An empty `name` stands for all names of the IPCP."""

    ipcp: int
    name: str = ""


@frozen
class RegName(Request[None]):
    """Make a name reachable in the layer of an IPCP. Creates the name when it is missing."""

    name: str
    ipcp: int


@frozen
class UnregName(Request[None]):
    """The reverse of `RegName`."""

    name: str
    ipcp: int


@frozen
class PeerCapabilities:
    """What a node can do beyond the prototype, as far as is known: `Capability`."""

    capabilities: Capability


@frozen
class ProbeName(Request[PeerCapabilities]):
    """What can the node do that a flow to this name would lead to? Asks it, when it is another one."""

    name: str


# ---------------------------------------------------------------- IPCPs


@frozen
class CreateIpcp(Request[IpcpInfo]):
    """A new IPCP in a process of its own (or hosted in the IRM's, for a `Node`). IpcpTypeError lists the known
    types.
    """

    type: str
    name: str


@frozen
class DestroyIpcp(Request[None]):
    """End an IPCP. Its flows go down."""

    ipcp: int


@frozen
class IpcpList:
    """IPCPs in order of type and age."""

    ipcps: tuple[IpcpInfo, ...]


@frozen
class ListIpcps(Request[IpcpList]):
    """All IPCPs."""


@frozen
class BootstrapIpcp(Request[LayerInfo]):
    """Make an IPCP the first member of a layer. `options`: texts by field name of the type's configuration class."""

    ipcp: int
    layer: LayerInfo
    options: Mapping[str, str] = field(factory=dict)


@frozen
class EnrollIpcp(Request[LayerInfo]):
    """Make an IPCP a member of a layer, with the help of the member that `dst` names."""

    ipcp: int
    dst: str


@frozen
class ConnectIpcp(Request[None]):
    """Connect a component ("Management", "Data Transfer") of an IPCP with that of the member `dst`."""

    ipcp: int
    dst: str
    component: str
    qos: QosSpec = RAW


@frozen
class DisconnectIpcp(Request[None]):
    """The reverse of `ConnectIpcp`."""

    ipcp: int
    dst: str
    component: str


# ---------------------------------------------------------------- looking inside


@frozen
class RibNames:
    """Children of a node of the RIB; a name that ends in a slash has children itself."""

    names: tuple[str, ...]


@frozen
class RibList(Request[RibNames]):
    """What is below a path, "" for the root. NotFound."""

    path: str = ""


@frozen
class RibText:
    """A subtree of the RIB as JSON."""

    json: str


@frozen
class RibRead(Request[RibText]):
    """Everything at and below a path. NotFound."""

    path: str = ""


@frozen
class AskIpcp(Request[RibText]):
    """A question or command to a component of an IPCP ("directory"), in the component's own words. The answer is JSON.

    InvalidArgument: there is no such component or question; IpcpError: no answer in time.
    """

    ipcp: int
    component: str
    words: tuple[str, ...] = ()


@frozen
class FlowList:
    """Flows in order of their ids."""

    flows: tuple[FlowInfo, ...]


@frozen
class ListFlows(Request[FlowList]):
    """All flows."""


@frozen
class SetDebug(Request[None]):
    """Switch the protocol debug level (PP) on for these components, off for all others."""

    components: tuple[str, ...]


# ---------------------------------------------------------------- from IPCPs only


@frozen
class Arrival:
    """The accepted end of an incoming flow, for the IPCP. `grant` None: the IRM joined both applications directly.

    `joined` is the grant of the requesting end, when `FlowArrived.joins` was given but both users share no pool.
    """

    flow_id: int
    data: bytes
    grant: Grant | None = None
    joined: Grant | None = None


@frozen
class FlowArrived(Request[Arrival]):
    """A flow request came over the layer. Answered when an application accepted; an error is for the requester.

    `data` is the OAP request, `Arrival.data` the OAP response. `joins`: the request came from this host and is the flow
    with this id; both are ends of the same flow.
    """

    hash: bytes
    qos: QosSpec
    mpl: int
    data: bytes
    joins: int = 0


@frozen
class FlowClosed(Request[None]):
    """The layer ended a flow of its own accord. It goes down."""

    flow_id: int
