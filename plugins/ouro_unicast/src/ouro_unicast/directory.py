"""The directory on the wire: a directory policy, the component that carries its messages, its clock, its questions."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ouro_core.contracts.directory import DirectoryAnswer, DirectoryPolicy, DirectoryReport
from ouro_core.model.errors import InvalidArgument
from ouro_core.model.log import logger

from .io import Timer
from .transfer import DataTransfer
from .wire.pci import DIRECTORY_EID

__all__ = ["Directory"]

R = TypeVar("R")

_log = logger("directory")


class Directory:
    """Runs a directory policy."""

    def __init__(self, policy: DirectoryPolicy, transfer: DataTransfer) -> None:
        self.policy = policy
        self._transfer = transfer
        self._loop = asyncio.get_running_loop()
        self._component = transfer.component(DIRECTORY_EID, self._received)
        self._timer = Timer(policy, self._run)
        self._queries: dict[int, asyncio.Future[DirectoryAnswer]] = {}
        self._questions: dict[int, asyncio.Future[DirectoryReport]] = {}

    def start(self, peers: Sequence[int]) -> None:
        """Begin, with the addresses of members that can be asked."""
        _log.info("Using %s policy.", self.policy.name.upper())
        self.policy.start(peers, self._loop.time())
        self._run()

    def stop(self) -> None:
        """Answer nothing any more."""
        self._timer.stop()
        for query in self._queries.values():
            query.cancel()
        for question in self._questions.values():
            question.cancel()

    def register(self, hash: bytes) -> None:
        """From now on the name is at this member."""
        self.policy.register(hash, self._loop.time())
        self._run()

    def unregister(self, hash: bytes) -> None:
        """The reverse."""
        self.policy.unregister(hash, self._loop.time())
        self._run()

    def refused(self, hash: bytes, address: int) -> None:
        """Nothing came of a flow to this answer."""
        self.policy.refused(hash, address, self._loop.time())
        self._run()

    async def query(self, hash: bytes) -> DirectoryAnswer:
        """Where the name is."""
        number = self.policy.query(hash, self._loop.time())
        try:
            return await self._wait(self._queries, number)
        finally:
            self.policy.cancel(number)

    async def ask(self, words: Sequence[str]) -> Mapping[str, Any]:
        """An administrator's question. InvalidArgument: there is no such question."""
        report = await self._wait(self._questions, self.policy.ask(words, self._loop.time()))
        if report.error:
            raise InvalidArgument(report.error)
        return report.value

    async def _wait(self, where: dict[int, "asyncio.Future[R]"], number: int) -> R:
        future: asyncio.Future[R] = self._loop.create_future()
        where[number] = future
        self._run()
        try:
            return await future
        finally:
            del where[number]

    def reach(self, near: set[int], far: set[int]) -> None:
        """Members came into reach, or went out of it."""
        now = self._loop.time()
        for address in far:
            self.policy.peer_down(address, now)
        for address in near:
            self.policy.peer_up(address, now)
        self._run()

    def _received(self, data: bytes) -> None:
        if data:
            self.policy.receive(data, self._loop.time())
            self._run()

    def _run(self) -> None:
        while items := self.policy.output():
            for item in items:
                if isinstance(item, DirectoryAnswer):
                    _settle(self._queries.get(item.query), item)
                elif isinstance(item, DirectoryReport):
                    _settle(self._questions.get(item.question), item)
                elif not self._component.send(item.address, item.data) and not self._transfer.reaches(item.address):
                    self.policy.peer_down(item.address, self._loop.time())
        self._timer.arm()


def _settle(future: "asyncio.Future[R] | None", value: R) -> None:
    if future is not None and not future.done():
        future.set_result(value)
