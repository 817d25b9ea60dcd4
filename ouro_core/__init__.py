"""Ouro: the Ouroboros recursive packet network for Python. This package is the kernel and its public API.

    from ouro_core import flow_alloc

    with flow_alloc("oecho.example") as flow:
        flow.write(b"hello")
        print(flow.read())

Synchronous code has `flow_alloc`, `flow_accept`, `flow_join`, `Flow` and `FlowSet`; asyncio has the same in `aio`.
`Irm` and `IrmClient` administer the daemon. `Node` is a whole host in this process. Names are imported when used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import aio as aio
    from .api.aio import AsyncFlow as AsyncFlow
    from .api.flow import Flow as Flow
    from .api.flowset import FlowSet as FlowSet
    from .api.irm import Irm as Irm
    from .api.irm import IrmClient as IrmClient
    from .api.node import Node as Node
    from .api.process import announce as announce
    from .api.process import flow_accept as flow_accept
    from .api.process import flow_alloc as flow_alloc
    from .api.process import flow_join as flow_join
    from .contracts.packets import Event as Event
    from .contracts.packets import State as State
    from .model.errors import AuthenticationFailed as AuthenticationFailed
    from .model.errors import BadDescriptor as BadDescriptor
    from .model.errors import BrokenPipe as BrokenPipe
    from .model.errors import ConfigError as ConfigError
    from .model.errors import CryptError as CryptError
    from .model.errors import Exists as Exists
    from .model.errors import FlowDown as FlowDown
    from .model.errors import FlowPeer as FlowPeer
    from .model.errors import FlowTimeout as FlowTimeout
    from .model.errors import InvalidArgument as InvalidArgument
    from .model.errors import IpcpError as IpcpError
    from .model.errors import IpcpStateError as IpcpStateError
    from .model.errors import IpcpTypeError as IpcpTypeError
    from .model.errors import IrmdError as IrmdError
    from .model.errors import NotAllocated as NotAllocated
    from .model.errors import NotFound as NotFound
    from .model.errors import NotPermitted as NotPermitted
    from .model.errors import NotSupported as NotSupported
    from .model.errors import OuroError as OuroError
    from .model.errors import OutOfMemory as OutOfMemory
    from .model.errors import PacketsError as PacketsError
    from .model.errors import PeerReset as PeerReset
    from .model.errors import PluginError as PluginError
    from .model.errors import TooLong as TooLong
    from .model.errors import UnknownName as UnknownName
    from .model.errors import WireError as WireError
    from .model.errors import WouldBlock as WouldBlock
    from .model.names import NameInfo as NameInfo
    from .model.qos import BEST_EFFORT as BEST_EFFORT
    from .model.qos import DATA as DATA
    from .model.qos import RAW as RAW
    from .model.qos import RAW_NO_ERRORS as RAW_NO_ERRORS
    from .model.qos import VIDEO as VIDEO
    from .model.qos import VOICE as VOICE
    from .model.qos import QosSpec as QosSpec

__version__ = "0.1.0"

_FROM = {
    "api.aio": ("AsyncFlow",),
    "api.flow": ("Flow",),
    "api.flowset": ("FlowSet",),
    "api.irm": ("Irm", "IrmClient"),
    "api.node": ("Node",),
    "api.process": ("announce", "flow_accept", "flow_alloc", "flow_join"),
    "contracts.packets": ("Event", "State"),
    "model.errors": (
        "AuthenticationFailed", "BadDescriptor", "BrokenPipe", "ConfigError", "CryptError", "Exists", "FlowDown",
        "FlowPeer", "FlowTimeout", "InvalidArgument", "IpcpError", "IpcpStateError", "IpcpTypeError", "IrmdError",
        "NotAllocated", "NotFound", "NotPermitted", "NotSupported", "OuroError", "OutOfMemory", "PacketsError",
        "PeerReset", "PluginError", "TooLong", "UnknownName", "WireError", "WouldBlock",
    ),
    "model.names": ("NameInfo",),
    "model.qos": ("BEST_EFFORT", "DATA", "RAW", "RAW_NO_ERRORS", "VIDEO", "VOICE", "QosSpec"),
}  # fmt: skip
_MODULES = {name: module for module, names in _FROM.items() for name in names}

__all__ = ["__version__", "aio", *_MODULES]


def __getattr__(name: str) -> Any:
    if name == "aio":
        return import_module(".api.aio", __name__)
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
