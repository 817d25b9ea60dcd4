"""How the IRM gets IPCPs: the one interface of both ways, in the IRM's own loop and in processes of their own."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import ClassVar, TypeVar

from attrs import frozen

from ..model.errors import NotSupported
from ..model.flow import Grant
from ..model.request import AsyncCaller, Request

__all__ = ["IpcpHandle", "IpcpStart", "Launcher"]

R = TypeVar("R")


@frozen
class IpcpStart:
    """What a new IPCP must know. `system` names the packet system, `grant` admits its client there."""

    id: int
    type: str
    name: str
    system: str
    grant: Grant


class IpcpHandle(ABC):
    """The IRM's hold on one IPCP, or on a worker."""

    pid: int

    @abstractmethod
    def call(self, request: Request[R]) -> Awaitable[R]:
        """A request of `model.ipcp_requests`. IpcpError when the IPCP is gone."""

    @abstractmethod
    async def stop(self, timeout: float) -> None:
        """Let it shut down; kill it when that takes longer than `timeout` seconds. Returns when it is gone."""

    @abstractmethod
    def kill(self) -> None:
        """End it now. `on_end` follows."""


class Launcher(ABC):
    """Makes IPCPs. `debug`: the components with protocol debugging, for those made from now on."""

    debug: tuple[str, ...] = ()
    processes: ClassVar[bool] = False
    """Whether what it makes are processes of their own; else all is in this loop, and there are no workers."""

    @abstractmethod
    async def launch(self, start: IpcpStart, irm: AsyncCaller, on_end: Callable[[str], None]) -> IpcpHandle:
        """A running IPCP in state BOOT. `irm` answers its requests; as with a `Channel`, the grants in its replies stay
        its own. `on_end` is called once, with the reason, when it ended, whyever; its process cannot run any more then.
        IpcpError, or what the type raised, when it does not come up.
        """

    async def worker(self, on_end: Callable[[str], None]) -> IpcpHandle:
        """A process that answers `WorkerJob`s, one after the other; `on_end` as for `launch`. IpcpError."""
        raise NotSupported("this launcher has no processes")

    @abstractmethod
    async def close(self) -> None:
        """End everything that was launched, and whatever launched it."""
