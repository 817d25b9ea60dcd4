from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Frame(_message.Message):
    __slots__ = ("kind", "id", "type", "body", "code", "text", "fds")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REQUEST: _ClassVar[Frame.Kind]
        REPLY: _ClassVar[Frame.Kind]
        ERROR: _ClassVar[Frame.Kind]
        CANCEL: _ClassVar[Frame.Kind]
    REQUEST: Frame.Kind
    REPLY: Frame.Kind
    ERROR: Frame.Kind
    CANCEL: Frame.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FDS_FIELD_NUMBER: _ClassVar[int]
    kind: Frame.Kind
    id: int
    type: str
    body: bytes
    code: int
    text: str
    fds: int
    def __init__(self, kind: _Optional[_Union[Frame.Kind, str]] = ..., id: _Optional[int] = ..., type: _Optional[str] = ..., body: _Optional[bytes] = ..., code: _Optional[int] = ..., text: _Optional[str] = ..., fds: _Optional[int] = ...) -> None: ...

class Grant(_message.Message):
    __slots__ = ("data", "fds")
    DATA_FIELD_NUMBER: _ClassVar[int]
    FDS_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    fds: int
    def __init__(self, data: _Optional[bytes] = ..., fds: _Optional[int] = ...) -> None: ...

class QosSpec(_message.Message):
    __slots__ = ("delay", "bandwidth", "availability", "loss", "ber", "in_order", "max_gap", "timeout")
    DELAY_FIELD_NUMBER: _ClassVar[int]
    BANDWIDTH_FIELD_NUMBER: _ClassVar[int]
    AVAILABILITY_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    BER_FIELD_NUMBER: _ClassVar[int]
    IN_ORDER_FIELD_NUMBER: _ClassVar[int]
    MAX_GAP_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    delay: int
    bandwidth: int
    availability: int
    loss: int
    ber: int
    in_order: int
    max_gap: int
    timeout: int
    def __init__(self, delay: _Optional[int] = ..., bandwidth: _Optional[int] = ..., availability: _Optional[int] = ..., loss: _Optional[int] = ..., ber: _Optional[int] = ..., in_order: _Optional[int] = ..., max_gap: _Optional[int] = ..., timeout: _Optional[int] = ...) -> None: ...

class LayerInfo(_message.Message):
    __slots__ = ("name", "hash")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    name: str
    hash: int
    def __init__(self, name: _Optional[str] = ..., hash: _Optional[int] = ...) -> None: ...

class IpcpInfo(_message.Message):
    __slots__ = ("id", "pid", "type", "name", "state", "layer")
    ID_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    id: int
    pid: int
    type: str
    name: str
    state: int
    layer: LayerInfo
    def __init__(self, id: _Optional[int] = ..., pid: _Optional[int] = ..., type: _Optional[str] = ..., name: _Optional[str] = ..., state: _Optional[int] = ..., layer: _Optional[_Union[LayerInfo, _Mapping]] = ...) -> None: ...

class NameInfo(_message.Message):
    __slots__ = ("name", "balance", "server_enc", "server_crt", "server_key", "client_enc", "client_crt", "client_key", "open", "owner")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BALANCE_FIELD_NUMBER: _ClassVar[int]
    SERVER_ENC_FIELD_NUMBER: _ClassVar[int]
    SERVER_CRT_FIELD_NUMBER: _ClassVar[int]
    SERVER_KEY_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ENC_FIELD_NUMBER: _ClassVar[int]
    CLIENT_CRT_FIELD_NUMBER: _ClassVar[int]
    CLIENT_KEY_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    name: str
    balance: int
    server_enc: str
    server_crt: str
    server_key: str
    client_enc: str
    client_crt: str
    client_key: str
    open: bool
    owner: int
    def __init__(self, name: _Optional[str] = ..., balance: _Optional[int] = ..., server_enc: _Optional[str] = ..., server_crt: _Optional[str] = ..., server_key: _Optional[str] = ..., client_enc: _Optional[str] = ..., client_crt: _Optional[str] = ..., client_key: _Optional[str] = ..., open: _Optional[bool] = ..., owner: _Optional[int] = ...) -> None: ...

class FlowInfo(_message.Message):
    __slots__ = ("id", "state", "pid", "peer_pid", "provider", "name", "qos", "mpl", "uid")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    PEER_PID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    QOS_FIELD_NUMBER: _ClassVar[int]
    MPL_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    id: int
    state: int
    pid: int
    peer_pid: int
    provider: int
    name: str
    qos: QosSpec
    mpl: int
    uid: int
    def __init__(self, id: _Optional[int] = ..., state: _Optional[int] = ..., pid: _Optional[int] = ..., peer_pid: _Optional[int] = ..., provider: _Optional[int] = ..., name: _Optional[str] = ..., qos: _Optional[_Union[QosSpec, _Mapping]] = ..., mpl: _Optional[int] = ..., uid: _Optional[int] = ...) -> None: ...

class Announce(_message.Message):
    __slots__ = ("program", "api")
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    API_FIELD_NUMBER: _ClassVar[int]
    program: str
    api: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, program: _Optional[str] = ..., api: _Optional[_Iterable[int]] = ...) -> None: ...

class Announced(_message.Message):
    __slots__ = ("client", "system", "plugin", "grant", "version")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    PLUGIN_FIELD_NUMBER: _ClassVar[int]
    GRANT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    client: int
    system: str
    plugin: str
    grant: Grant
    version: str
    def __init__(self, client: _Optional[int] = ..., system: _Optional[str] = ..., plugin: _Optional[str] = ..., grant: _Optional[_Union[Grant, _Mapping]] = ..., version: _Optional[str] = ...) -> None: ...

class Allocation(_message.Message):
    __slots__ = ("flow_id", "grant", "qos", "mpl", "name", "direct", "data", "cipher", "key", "suite", "plugin", "oap")
    FLOW_ID_FIELD_NUMBER: _ClassVar[int]
    GRANT_FIELD_NUMBER: _ClassVar[int]
    QOS_FIELD_NUMBER: _ClassVar[int]
    MPL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIRECT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CIPHER_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SUITE_FIELD_NUMBER: _ClassVar[int]
    PLUGIN_FIELD_NUMBER: _ClassVar[int]
    OAP_FIELD_NUMBER: _ClassVar[int]
    flow_id: int
    grant: Grant
    qos: QosSpec
    mpl: int
    name: str
    direct: bool
    data: bytes
    cipher: int
    key: bytes
    suite: str
    plugin: str
    oap: bytes
    def __init__(self, flow_id: _Optional[int] = ..., grant: _Optional[_Union[Grant, _Mapping]] = ..., qos: _Optional[_Union[QosSpec, _Mapping]] = ..., mpl: _Optional[int] = ..., name: _Optional[str] = ..., direct: _Optional[bool] = ..., data: _Optional[bytes] = ..., cipher: _Optional[int] = ..., key: _Optional[bytes] = ..., suite: _Optional[str] = ..., plugin: _Optional[str] = ..., oap: _Optional[bytes] = ...) -> None: ...

class FlowAlloc(_message.Message):
    __slots__ = ("dst", "qos", "timeout", "data")
    DST_FIELD_NUMBER: _ClassVar[int]
    QOS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    dst: str
    qos: QosSpec
    timeout: float
    data: bytes
    def __init__(self, dst: _Optional[str] = ..., qos: _Optional[_Union[QosSpec, _Mapping]] = ..., timeout: _Optional[float] = ..., data: _Optional[bytes] = ...) -> None: ...

class FlowAccept(_message.Message):
    __slots__ = ("timeout", "data")
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    timeout: float
    data: bytes
    def __init__(self, timeout: _Optional[float] = ..., data: _Optional[bytes] = ...) -> None: ...

class FlowJoin(_message.Message):
    __slots__ = ("layer", "timeout")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    layer: str
    timeout: float
    def __init__(self, layer: _Optional[str] = ..., timeout: _Optional[float] = ...) -> None: ...

class FlowDealloc(_message.Message):
    __slots__ = ("flow_id", "linger")
    FLOW_ID_FIELD_NUMBER: _ClassVar[int]
    LINGER_FIELD_NUMBER: _ClassVar[int]
    flow_id: int
    linger: float
    def __init__(self, flow_id: _Optional[int] = ..., linger: _Optional[float] = ...) -> None: ...

class CreateName(_message.Message):
    __slots__ = ("info",)
    INFO_FIELD_NUMBER: _ClassVar[int]
    info: NameInfo
    def __init__(self, info: _Optional[_Union[NameInfo, _Mapping]] = ...) -> None: ...

class DestroyName(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListNames(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class NameList(_message.Message):
    __slots__ = ("names",)
    NAMES_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedCompositeFieldContainer[NameInfo]
    def __init__(self, names: _Optional[_Iterable[_Union[NameInfo, _Mapping]]] = ...) -> None: ...

class BindProgram(_message.Message):
    __slots__ = ("path", "name", "args", "auto")
    PATH_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    AUTO_FIELD_NUMBER: _ClassVar[int]
    path: str
    name: str
    args: _containers.RepeatedScalarFieldContainer[str]
    auto: bool
    def __init__(self, path: _Optional[str] = ..., name: _Optional[str] = ..., args: _Optional[_Iterable[str]] = ..., auto: _Optional[bool] = ...) -> None: ...

class UnbindProgram(_message.Message):
    __slots__ = ("program", "name")
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    program: str
    name: str
    def __init__(self, program: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class BindProcess(_message.Message):
    __slots__ = ("pid", "name")
    PID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    pid: int
    name: str
    def __init__(self, pid: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class UnbindProcess(_message.Message):
    __slots__ = ("pid", "name")
    PID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    pid: int
    name: str
    def __init__(self, pid: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class BindIpcp(_message.Message):
    __slots__ = ("ipcp", "name")
    IPCP_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ipcp: int
    name: str
    def __init__(self, ipcp: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class UnbindIpcp(_message.Message):
    __slots__ = ("ipcp", "name")
    IPCP_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ipcp: int
    name: str
    def __init__(self, ipcp: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class RegName(_message.Message):
    __slots__ = ("name", "ipcp")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IPCP_FIELD_NUMBER: _ClassVar[int]
    name: str
    ipcp: int
    def __init__(self, name: _Optional[str] = ..., ipcp: _Optional[int] = ...) -> None: ...

class ProbeName(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class UnregName(_message.Message):
    __slots__ = ("name", "ipcp")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IPCP_FIELD_NUMBER: _ClassVar[int]
    name: str
    ipcp: int
    def __init__(self, name: _Optional[str] = ..., ipcp: _Optional[int] = ...) -> None: ...

class CreateIpcp(_message.Message):
    __slots__ = ("type", "name")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    type: str
    name: str
    def __init__(self, type: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class DestroyIpcp(_message.Message):
    __slots__ = ("ipcp",)
    IPCP_FIELD_NUMBER: _ClassVar[int]
    ipcp: int
    def __init__(self, ipcp: _Optional[int] = ...) -> None: ...

class ListIpcps(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class IpcpList(_message.Message):
    __slots__ = ("ipcps",)
    IPCPS_FIELD_NUMBER: _ClassVar[int]
    ipcps: _containers.RepeatedCompositeFieldContainer[IpcpInfo]
    def __init__(self, ipcps: _Optional[_Iterable[_Union[IpcpInfo, _Mapping]]] = ...) -> None: ...

class BootstrapIpcp(_message.Message):
    __slots__ = ("ipcp", "layer", "options")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    IPCP_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    ipcp: int
    layer: LayerInfo
    options: _containers.ScalarMap[str, str]
    def __init__(self, ipcp: _Optional[int] = ..., layer: _Optional[_Union[LayerInfo, _Mapping]] = ..., options: _Optional[_Mapping[str, str]] = ...) -> None: ...

class EnrollIpcp(_message.Message):
    __slots__ = ("ipcp", "dst")
    IPCP_FIELD_NUMBER: _ClassVar[int]
    DST_FIELD_NUMBER: _ClassVar[int]
    ipcp: int
    dst: str
    def __init__(self, ipcp: _Optional[int] = ..., dst: _Optional[str] = ...) -> None: ...

class ConnectIpcp(_message.Message):
    __slots__ = ("ipcp", "dst", "component", "qos")
    IPCP_FIELD_NUMBER: _ClassVar[int]
    DST_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    QOS_FIELD_NUMBER: _ClassVar[int]
    ipcp: int
    dst: str
    component: str
    qos: QosSpec
    def __init__(self, ipcp: _Optional[int] = ..., dst: _Optional[str] = ..., component: _Optional[str] = ..., qos: _Optional[_Union[QosSpec, _Mapping]] = ...) -> None: ...

class DisconnectIpcp(_message.Message):
    __slots__ = ("ipcp", "dst", "component")
    IPCP_FIELD_NUMBER: _ClassVar[int]
    DST_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    ipcp: int
    dst: str
    component: str
    def __init__(self, ipcp: _Optional[int] = ..., dst: _Optional[str] = ..., component: _Optional[str] = ...) -> None: ...

class RibList(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class RibNames(_message.Message):
    __slots__ = ("names",)
    NAMES_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, names: _Optional[_Iterable[str]] = ...) -> None: ...

class RibRead(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class RibText(_message.Message):
    __slots__ = ("json",)
    JSON_FIELD_NUMBER: _ClassVar[int]
    json: str
    def __init__(self, json: _Optional[str] = ...) -> None: ...

class AskIpcp(_message.Message):
    __slots__ = ("ipcp", "component", "words")
    IPCP_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    ipcp: int
    component: str
    words: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ipcp: _Optional[int] = ..., component: _Optional[str] = ..., words: _Optional[_Iterable[str]] = ...) -> None: ...

class ListFlows(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FlowList(_message.Message):
    __slots__ = ("flows",)
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    flows: _containers.RepeatedCompositeFieldContainer[FlowInfo]
    def __init__(self, flows: _Optional[_Iterable[_Union[FlowInfo, _Mapping]]] = ...) -> None: ...

class SetDebug(_message.Message):
    __slots__ = ("components",)
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    components: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, components: _Optional[_Iterable[str]] = ...) -> None: ...

class FlowArrived(_message.Message):
    __slots__ = ("hash", "qos", "mpl", "data", "joins")
    HASH_FIELD_NUMBER: _ClassVar[int]
    QOS_FIELD_NUMBER: _ClassVar[int]
    MPL_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    JOINS_FIELD_NUMBER: _ClassVar[int]
    hash: bytes
    qos: QosSpec
    mpl: int
    data: bytes
    joins: int
    def __init__(self, hash: _Optional[bytes] = ..., qos: _Optional[_Union[QosSpec, _Mapping]] = ..., mpl: _Optional[int] = ..., data: _Optional[bytes] = ..., joins: _Optional[int] = ...) -> None: ...

class Arrival(_message.Message):
    __slots__ = ("flow_id", "data", "grant", "joined")
    FLOW_ID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    GRANT_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    flow_id: int
    data: bytes
    grant: Grant
    joined: Grant
    def __init__(self, flow_id: _Optional[int] = ..., data: _Optional[bytes] = ..., grant: _Optional[_Union[Grant, _Mapping]] = ..., joined: _Optional[_Union[Grant, _Mapping]] = ...) -> None: ...

class FlowClosed(_message.Message):
    __slots__ = ("flow_id",)
    FLOW_ID_FIELD_NUMBER: _ClassVar[int]
    flow_id: int
    def __init__(self, flow_id: _Optional[int] = ...) -> None: ...

class IpcpBootstrap(_message.Message):
    __slots__ = ("layer", "options")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LAYER_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    layer: LayerInfo
    options: _containers.ScalarMap[str, str]
    def __init__(self, layer: _Optional[_Union[LayerInfo, _Mapping]] = ..., options: _Optional[_Mapping[str, str]] = ...) -> None: ...

class IpcpEnroll(_message.Message):
    __slots__ = ("dst",)
    DST_FIELD_NUMBER: _ClassVar[int]
    dst: str
    def __init__(self, dst: _Optional[str] = ...) -> None: ...

class IpcpReg(_message.Message):
    __slots__ = ("hash",)
    HASH_FIELD_NUMBER: _ClassVar[int]
    hash: bytes
    def __init__(self, hash: _Optional[bytes] = ...) -> None: ...

class IpcpUnreg(_message.Message):
    __slots__ = ("hash",)
    HASH_FIELD_NUMBER: _ClassVar[int]
    hash: bytes
    def __init__(self, hash: _Optional[bytes] = ...) -> None: ...

class IpcpQuery(_message.Message):
    __slots__ = ("hash",)
    HASH_FIELD_NUMBER: _ClassVar[int]
    hash: bytes
    def __init__(self, hash: _Optional[bytes] = ...) -> None: ...

class Found(_message.Message):
    __slots__ = ("found",)
    FOUND_FIELD_NUMBER: _ClassVar[int]
    found: bool
    def __init__(self, found: _Optional[bool] = ...) -> None: ...

class IpcpCapabilities(_message.Message):
    __slots__ = ("hash",)
    HASH_FIELD_NUMBER: _ClassVar[int]
    hash: bytes
    def __init__(self, hash: _Optional[bytes] = ...) -> None: ...

class PeerCapabilities(_message.Message):
    __slots__ = ("capabilities",)
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    capabilities: int
    def __init__(self, capabilities: _Optional[int] = ...) -> None: ...

class IpcpFlowAlloc(_message.Message):
    __slots__ = ("flow_id", "hash", "qos", "data", "grant")
    FLOW_ID_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    QOS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    GRANT_FIELD_NUMBER: _ClassVar[int]
    flow_id: int
    hash: bytes
    qos: QosSpec
    data: bytes
    grant: Grant
    def __init__(self, flow_id: _Optional[int] = ..., hash: _Optional[bytes] = ..., qos: _Optional[_Union[QosSpec, _Mapping]] = ..., data: _Optional[bytes] = ..., grant: _Optional[_Union[Grant, _Mapping]] = ...) -> None: ...

class FlowReply(_message.Message):
    __slots__ = ("mpl", "data")
    MPL_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    mpl: int
    data: bytes
    def __init__(self, mpl: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class IpcpFlowJoin(_message.Message):
    __slots__ = ("flow_id", "hash", "grant")
    FLOW_ID_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    GRANT_FIELD_NUMBER: _ClassVar[int]
    flow_id: int
    hash: bytes
    grant: Grant
    def __init__(self, flow_id: _Optional[int] = ..., hash: _Optional[bytes] = ..., grant: _Optional[_Union[Grant, _Mapping]] = ...) -> None: ...

class IpcpFlowDealloc(_message.Message):
    __slots__ = ("flow_id", "linger")
    FLOW_ID_FIELD_NUMBER: _ClassVar[int]
    LINGER_FIELD_NUMBER: _ClassVar[int]
    flow_id: int
    linger: float
    def __init__(self, flow_id: _Optional[int] = ..., linger: _Optional[float] = ...) -> None: ...

class IpcpConnect(_message.Message):
    __slots__ = ("dst", "component", "qos")
    DST_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    QOS_FIELD_NUMBER: _ClassVar[int]
    dst: str
    component: str
    qos: QosSpec
    def __init__(self, dst: _Optional[str] = ..., component: _Optional[str] = ..., qos: _Optional[_Union[QosSpec, _Mapping]] = ...) -> None: ...

class IpcpDisconnect(_message.Message):
    __slots__ = ("dst", "component")
    DST_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    dst: str
    component: str
    def __init__(self, dst: _Optional[str] = ..., component: _Optional[str] = ...) -> None: ...

class IpcpAsk(_message.Message):
    __slots__ = ("component", "words")
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    component: str
    words: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, component: _Optional[str] = ..., words: _Optional[_Iterable[str]] = ...) -> None: ...

class IpcpShutdown(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ZygoteSpawn(_message.Message):
    __slots__ = ("type", "name", "id", "system", "grant", "channel", "debug", "log")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    GRANT_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    DEBUG_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    type: str
    name: str
    id: int
    system: str
    grant: Grant
    channel: Grant
    debug: _containers.RepeatedScalarFieldContainer[str]
    log: str
    def __init__(self, type: _Optional[str] = ..., name: _Optional[str] = ..., id: _Optional[int] = ..., system: _Optional[str] = ..., grant: _Optional[_Union[Grant, _Mapping]] = ..., channel: _Optional[_Union[Grant, _Mapping]] = ..., debug: _Optional[_Iterable[str]] = ..., log: _Optional[str] = ...) -> None: ...

class ZygoteWorker(_message.Message):
    __slots__ = ("channel", "debug", "log")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    DEBUG_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    channel: Grant
    debug: _containers.RepeatedScalarFieldContainer[str]
    log: str
    def __init__(self, channel: _Optional[_Union[Grant, _Mapping]] = ..., debug: _Optional[_Iterable[str]] = ..., log: _Optional[str] = ...) -> None: ...

class Spawned(_message.Message):
    __slots__ = ("pid", "pidfd")
    PID_FIELD_NUMBER: _ClassVar[int]
    PIDFD_FIELD_NUMBER: _ClassVar[int]
    pid: int
    pidfd: Grant
    def __init__(self, pid: _Optional[int] = ..., pidfd: _Optional[_Union[Grant, _Mapping]] = ...) -> None: ...

class ChildEnded(_message.Message):
    __slots__ = ("pid", "status")
    PID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    pid: int
    status: int
    def __init__(self, pid: _Optional[int] = ..., status: _Optional[int] = ...) -> None: ...

class IpcpEnding(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class WorkerJob(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: bytes
    def __init__(self, job: _Optional[bytes] = ...) -> None: ...

class WorkerResult(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: bytes
    def __init__(self, result: _Optional[bytes] = ...) -> None: ...
