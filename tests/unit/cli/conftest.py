"""An IRM of a few lines on a real control socket, so that the commands can be run as a user runs them."""

import asyncio
import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field

from ouro_core.model import irm_requests as ask
from ouro_core.model.errors import IpcpTypeError, NotFound, OuroError
from ouro_core.model.layer import IpcpInfo, IpcpState, LayerInfo
from ouro_core.model.names import NameInfo
from ouro_core.model.request import Request
from ouro_core.rpc.channel import Channel

STATUS = {
    "version": "1.2", "pid": 99, "packets": "ssm", "configured": True, "uptime": 12.4, "processes": 2, "ipcps": 2,
    "names": 0, "flows": 1, "blocks": 3, "flows_allocated": 5, "flows_refused": 1, "ipcps_created": 2,
    "programs_started": 0,
}  # fmt: skip
IPCP = {
    "info": {"name": "l1", "type": "local", "hash": ""},
    "flows": {"7": {"state": "ALLOCATED", "tx": 5}},
    "directory": {}, "medium": {"mtu": 1500, "up": True, "addresses": ["192.0.2.1", "2001:db8::1"], "servers": []},
    "frames": {"rx": 12, "tx": 3, "foreign": 0, "short": 1}, "packets": {"pool": 0, "a": 0, "b": 0},
}  # fmt: skip


@define
class Irm:
    """Keeps what it is told, and every request in `asked`. `refuse` maps a class of requests to its error."""

    ipcps: list[IpcpInfo] = field(factory=list)
    names: list[NameInfo] = field(factory=list)
    asked: list[Request[Any]] = field(factory=list)
    refuse: dict[type, OuroError] = field(factory=dict)
    types: tuple[str, ...] = ("local", "unicast", "broadcast")
    views: dict[str, dict[str, Any]] = field(factory=dict)
    """What the RIB says of IPCPs beside their configuration, by name."""
    status: dict[str, Any] = field(factory=STATUS.copy)
    enrolled_in: LayerInfo = field(factory=lambda: LayerInfo("net"))
    _ids: Iterator[int] = field(factory=lambda: itertools.count(1))

    def add(self, name: str, type: str = "local", layer: str | None = None, pid: int = 0) -> IpcpInfo:
        """A new IPCP."""
        number = next(self._ids)
        info = LayerInfo(layer) if layer else None
        ipcp = IpcpInfo(number, pid or 4710 + number, type, name, IpcpState.BOOT, info)
        self.ipcps.append(ipcp)
        return ipcp

    def answer(self, request: Request[Any]) -> Any:
        """The reply to one request."""
        self.asked.append(request)
        if type(request) in self.refuse:
            raise self.refuse[type(request)]
        match request:
            case ask.ListIpcps():
                return ask.IpcpList(tuple(self.ipcps))
            case ask.ListNames():
                return ask.NameList(tuple(self.names))
            case ask.CreateIpcp(type=word, name=name):
                if word not in self.types:
                    raise IpcpTypeError(f'no IPCP type is called "{word}"; known: local')
                return self.add(name, word)
            case ask.DestroyIpcp(ipcp=number):
                self.ipcps = [i for i in self.ipcps if i.id != number]
            case ask.BootstrapIpcp(ipcp=number, layer=layer):
                return self._join(number, layer)
            case ask.EnrollIpcp(ipcp=number):
                return self._join(number, self.enrolled_in)
            case ask.CreateName(info=info):
                self.names.append(info)
            case ask.RibRead(path="irm/status"):
                return ask.RibText(json.dumps(self.status))
            case ask.RibRead(path="packets"):
                return ask.RibText(json.dumps({"flows": 1, "pool.0.512.used": 3, "pool.0.512.total": 768}))
            case ask.RibRead(path="ipcps/l1"):
                return ask.RibText(json.dumps(IPCP))
            case ask.RibRead(path=""):
                return ask.RibText(json.dumps({"processes": {"1": {"program": "oping", "flows": [1, 2]}}, "up": True}))
            case ask.RibRead(path=path) if path.startswith("ipcps/"):
                _, name, what = path.split("/")
                return ask.RibText(json.dumps(self.views.get(name, {}).get(what, {})))
            case ask.RibRead(path=path):
                raise NotFound(f'the RIB has no "{path}"')
            case ask.RibList():
                return ask.RibNames(("processes/", "up"))
        return None

    def _join(self, number: int, layer: LayerInfo) -> LayerInfo:
        self.ipcps = [evolve(i, layer=layer) if i.id == number else i for i in self.ipcps]
        return layer

    def changes(self) -> list[Request[Any]]:
        """What it was asked to do, without the questions."""
        return [r for r in self.asked if not isinstance(r, ask.ListIpcps | ask.ListNames | ask.RibRead)]


@pytest.fixture
def irm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Irm]:
    """An IRM that answers where the commands look for it."""
    monkeypatch.setenv("OURO_RUNTIME_DIR", str(tmp_path))
    found = Irm()
    with serving(tmp_path, found.answer):
        yield found


@pytest.fixture
def no_irm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers."""
    monkeypatch.setenv("OURO_RUNTIME_DIR", str(tmp_path))


@contextlib.contextmanager
def serving(directory: Path, answer: Callable[[Request[Any]], Any]) -> Iterator[None]:
    """Answer requests at the socket of this runtime directory, in a thread."""
    ready, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        channels: list[Channel] = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(directory / "irm.sock"))
            listener.listen()
            listener.setblocking(False)
            loop.add_reader(listener.fileno(), lambda: channels.append(Channel(listener.accept()[0], answer)))
            ready.set()
            await loop.run_in_executor(None, stop.wait)
            loop.remove_reader(listener.fileno())
            for channel in channels:
                channel.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        yield
    finally:
        stop.set()
        thread.join(10)
