from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Contact(_message.Message):
    __slots__ = ("id", "addr")
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDR_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    addr: int
    def __init__(self, id: _Optional[bytes] = ..., addr: _Optional[int] = ...) -> None: ...

class Find(_message.Message):
    __slots__ = ("cookie", "key")
    COOKIE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    cookie: int
    key: bytes
    def __init__(self, cookie: _Optional[int] = ..., key: _Optional[bytes] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("cookie", "key", "contacts")
    COOKIE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    CONTACTS_FIELD_NUMBER: _ClassVar[int]
    cookie: int
    key: bytes
    contacts: _containers.RepeatedCompositeFieldContainer[Contact]
    def __init__(self, cookie: _Optional[int] = ..., key: _Optional[bytes] = ..., contacts: _Optional[_Iterable[_Union[Contact, _Mapping]]] = ...) -> None: ...

class Values(_message.Message):
    __slots__ = ("values", "published", "expiry")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    EXPIRY_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[bytes]
    published: _containers.RepeatedScalarFieldContainer[int]
    expiry: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, values: _Optional[_Iterable[bytes]] = ..., published: _Optional[_Iterable[int]] = ..., expiry: _Optional[_Iterable[int]] = ...) -> None: ...

class Store(_message.Message):
    __slots__ = ("key", "val", "exp", "published", "withdraw")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VAL_FIELD_NUMBER: _ClassVar[int]
    EXP_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    WITHDRAW_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    val: bytes
    exp: int
    published: int
    withdraw: bool
    def __init__(self, key: _Optional[bytes] = ..., val: _Optional[bytes] = ..., exp: _Optional[int] = ..., published: _Optional[int] = ..., withdraw: _Optional[bool] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("code", "src", "store", "find", "node", "val", "ouro")
    CODE_FIELD_NUMBER: _ClassVar[int]
    SRC_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    FIND_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    VAL_FIELD_NUMBER: _ClassVar[int]
    OURO_FIELD_NUMBER: _ClassVar[int]
    code: int
    src: Contact
    store: Store
    find: Find
    node: Node
    val: Values
    ouro: int
    def __init__(self, code: _Optional[int] = ..., src: _Optional[_Union[Contact, _Mapping]] = ..., store: _Optional[_Union[Store, _Mapping]] = ..., find: _Optional[_Union[Find, _Mapping]] = ..., node: _Optional[_Union[Node, _Mapping]] = ..., val: _Optional[_Union[Values, _Mapping]] = ..., ouro: _Optional[int] = ...) -> None: ...

class Config(_message.Message):
    __slots__ = ("alpha", "k", "t_expire", "t_refresh", "t_replicate", "peer", "prototype")
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    T_EXPIRE_FIELD_NUMBER: _ClassVar[int]
    T_REFRESH_FIELD_NUMBER: _ClassVar[int]
    T_REPLICATE_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    PROTOTYPE_FIELD_NUMBER: _ClassVar[int]
    alpha: int
    k: int
    t_expire: int
    t_refresh: int
    t_replicate: int
    peer: int
    prototype: int
    def __init__(self, alpha: _Optional[int] = ..., k: _Optional[int] = ..., t_expire: _Optional[int] = ..., t_refresh: _Optional[int] = ..., t_replicate: _Optional[int] = ..., peer: _Optional[int] = ..., prototype: _Optional[int] = ...) -> None: ...
