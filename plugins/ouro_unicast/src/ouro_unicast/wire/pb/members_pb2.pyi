from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Identity(_message.Message):
    __slots__ = ("component", "protocol", "version", "syntax", "address")
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SYNTAX_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    component: str
    protocol: str
    version: int
    syntax: int
    address: int
    def __init__(self, component: _Optional[str] = ..., protocol: _Optional[str] = ..., version: _Optional[int] = ..., syntax: _Optional[int] = ..., address: _Optional[int] = ...) -> None: ...

class EnrolRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    def __init__(self, id: _Optional[bytes] = ...) -> None: ...

class EnrolResponse(_message.Message):
    __slots__ = ("id", "seconds", "nanoseconds", "response", "layer")
    ID_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    NANOSECONDS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    seconds: int
    nanoseconds: int
    response: int
    layer: Layer
    def __init__(self, id: _Optional[bytes] = ..., seconds: _Optional[int] = ..., nanoseconds: _Optional[int] = ..., response: _Optional[int] = ..., layer: _Optional[_Union[Layer, _Mapping]] = ...) -> None: ...

class EnrolAck(_message.Message):
    __slots__ = ("id", "result")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    result: int
    def __init__(self, id: _Optional[bytes] = ..., result: _Optional[int] = ...) -> None: ...

class Layer(_message.Message):
    __slots__ = ("info", "type", "unicast")
    INFO_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    UNICAST_FIELD_NUMBER: _ClassVar[int]
    info: LayerInfo
    type: int
    unicast: Unicast
    def __init__(self, info: _Optional[_Union[LayerInfo, _Mapping]] = ..., type: _Optional[int] = ..., unicast: _Optional[_Union[Unicast, _Mapping]] = ...) -> None: ...

class LayerInfo(_message.Message):
    __slots__ = ("name", "hash")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    name: str
    hash: int
    def __init__(self, name: _Optional[str] = ..., hash: _Optional[int] = ...) -> None: ...

class Unicast(_message.Message):
    __slots__ = ("transfer", "directory", "address_authority", "congestion", "named")
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    CONGESTION_FIELD_NUMBER: _ClassVar[int]
    NAMED_FIELD_NUMBER: _ClassVar[int]
    transfer: Transfer
    directory: Directory
    address_authority: int
    congestion: int
    named: _containers.RepeatedCompositeFieldContainer[Named]
    def __init__(self, transfer: _Optional[_Union[Transfer, _Mapping]] = ..., directory: _Optional[_Union[Directory, _Mapping]] = ..., address_authority: _Optional[int] = ..., congestion: _Optional[int] = ..., named: _Optional[_Iterable[_Union[Named, _Mapping]]] = ...) -> None: ...

class Named(_message.Message):
    __slots__ = ("kind", "name")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class Transfer(_message.Message):
    __slots__ = ("address_size", "eid_size", "max_ttl", "routing")
    ADDRESS_SIZE_FIELD_NUMBER: _ClassVar[int]
    EID_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_TTL_FIELD_NUMBER: _ClassVar[int]
    ROUTING_FIELD_NUMBER: _ClassVar[int]
    address_size: int
    eid_size: int
    max_ttl: int
    routing: Routing
    def __init__(self, address_size: _Optional[int] = ..., eid_size: _Optional[int] = ..., max_ttl: _Optional[int] = ..., routing: _Optional[_Union[Routing, _Mapping]] = ...) -> None: ...

class Routing(_message.Message):
    __slots__ = ("policy", "link_state")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    LINK_STATE_FIELD_NUMBER: _ClassVar[int]
    policy: int
    link_state: LinkState
    def __init__(self, policy: _Optional[int] = ..., link_state: _Optional[_Union[LinkState, _Mapping]] = ...) -> None: ...

class LinkState(_message.Message):
    __slots__ = ("policy", "t_recalc", "t_update", "t_timeo")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    T_RECALC_FIELD_NUMBER: _ClassVar[int]
    T_UPDATE_FIELD_NUMBER: _ClassVar[int]
    T_TIMEO_FIELD_NUMBER: _ClassVar[int]
    policy: int
    t_recalc: int
    t_update: int
    t_timeo: int
    def __init__(self, policy: _Optional[int] = ..., t_recalc: _Optional[int] = ..., t_update: _Optional[int] = ..., t_timeo: _Optional[int] = ...) -> None: ...

class Directory(_message.Message):
    __slots__ = ("policy", "settings")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    policy: int
    settings: bytes
    def __init__(self, policy: _Optional[int] = ..., settings: _Optional[bytes] = ...) -> None: ...
