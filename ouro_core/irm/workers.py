"""Slow cryptography out of the IRM's loop.

Theory of operation. A job that is quick (`OapJob.slow`) is done at once, in the caller's own step: a plain allocation
never waits here. The others go to worker processes, one job at a time each, which are forked when there is something
to do and stay.

Whoever can make us work is a *peer*: a user of this host, or one name as seen by one IPCP (more of a remote requester
nobody can know). Each peer has a queue of its own, and the queues take turns. There are bounds for one peer and for
all. A peer's job beyond the first is refused; beyond the second, the last one of the peer with most of them. While
there is more than one worker, one peer never has all of them. So a flood makes the names slow that it is for, and
nothing else.

Workers give way to everybody, so on a busy machine an honest signature takes many times its processor time. What is
bounded is therefore what a job costs; and how long it takes only by how long an allocation waits for anything. A worker
beyond either is killed. One that dies takes the job with it: the caller gets an error, and the next job a new worker. A
job that its caller gave up is finished all the same, unless it did not begin yet.
"""

import asyncio
import os
import pickle
from collections import Counter, deque
from collections.abc import Hashable
from typing import Any, Final, TypeVar

from attrs import define, field, frozen

from ..ipcp.launcher import IpcpHandle, Launcher
from ..ipcp.process import processor_time
from ..model.errors import FlowTimeout, IpcpError, OuroError, OutOfMemory, TooLong
from ..model.log import logger
from ..model.zygote_requests import WorkerJob, WorkerResult
from ..oap import OapJob, OapSuites

__all__ = ["WorkerPool", "WorkersView"]

log = logger("irmd/worker")
R = TypeVar("R")

PROCESSOR: Final = 5.0
"""Seconds of processor time that a job may take: three times the dearest signature there is (SLH-DSA-SHAKE-192s)."""
PATIENCE: Final = 20.0
"""Seconds that a job may wait and take: so long an allocation waits, and a request is good for (oap.md 1.6)."""
_LOOK: Final = 0.05
"""Seconds between two looks at a worker that is near its end and gets no processor."""
MAX_JOBS: Final = 256
"""Jobs that may wait for a worker."""
MAX_JOBS_PER_PEER: Final = 16
"""Jobs of one peer that may wait for a worker."""
MAX_JOB: Final = 3 << 20
"""Bytes of a job, with the certificates of the store."""
WORKERS: Final = max(2, min(4, os.cpu_count() or 1))


@define(eq=False)
class _Task:
    peer: Hashable
    job: bytes = field(repr=False)
    future: "asyncio.Future[Any]" = field(repr=False)


@define(eq=False)
class _Worker:
    """A worker process. `task` None: it is idle."""

    handle: IpcpHandle | None = None
    task: _Task | None = None
    until: float = 0.0
    """When it has had its task for too long."""
    spent: float = 0.0
    """Processor time that it may have used by then, since it was started."""
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)


@frozen
class WorkersView:
    """The pool as the RIB shows it."""

    workers: int
    busy: int
    waiting: int
    done: int
    refused: int
    overdue: int
    died: int


class WorkerPool:
    """The workers of one IRM. Without processes to be had (`Launcher.processes`) all is done in the loop."""

    def __init__(self, launcher: Launcher, suites: OapSuites, workers: int = WORKERS) -> None:
        self._launcher = launcher
        self._suites = suites
        self._size = workers
        self._workers: set[_Worker] = set()
        self._queues: dict[Hashable, deque[_Task]] = {}
        self._running: Counter[Hashable] = Counter()
        self._starting: asyncio.Task[None] | None = None
        self._counters: Counter[str] = Counter()

    async def run(self, peer: Hashable, job: OapJob[R]) -> R:
        """The result of a job, or what it raises. OutOfMemory: too many wait; FlowTimeout: it took too long; IpcpError:
        there is no worker, or it died.
        """
        if not self._launcher.processes or not job.slow(self._suites):
            return job.run(self._suites)
        task = self._enqueue(peer, pickle.dumps(job))
        timer = asyncio.get_running_loop().call_later(PATIENCE, self._overdue, task, f"{PATIENCE:g} s")
        try:
            result: R = await task.future
            return result
        finally:
            timer.cancel()
            self._withdraw(task)

    def _overdue(self, task: _Task, limit: str) -> None:
        if not task.future.done():
            self._counters["overdue"] += 1
            task.future.set_exception(FlowTimeout(f"the cryptography of this allocation was not done within {limit}"))

    def view(self) -> WorkersView:
        """Counts, those of jobs since the start."""
        c = self._counters
        busy = sum(worker.task is not None for worker in self._workers)
        return WorkersView(len(self._workers), busy, self._waiting(), c["done"], c["refused"], c["overdue"], c["died"])

    async def close(self) -> None:
        """End the workers, and what they are asked."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        workers, self._size = list(self._workers), 0
        for task in [task for queue in self._queues.values() for task in queue]:
            task.future.cancel()
        for worker in workers:
            if worker.handle is not None:
                worker.handle.kill()

    # ------------------------------------------------------------ queues

    def _waiting(self) -> int:
        return sum(map(len, self._queues.values()))

    def _enqueue(self, peer: Hashable, job: bytes) -> _Task:
        if len(job) > MAX_JOB:
            raise TooLong(f"{len(job)} bytes for a worker, at most {MAX_JOB} do: too many certificates in cacert?")
        queue = self._queues.get(peer, deque())
        if len(queue) >= MAX_JOBS_PER_PEER:
            raise self._refusal(queue)
        if self._waiting() >= MAX_JOBS:
            longest = max(self._queues.values(), key=len)
            if len(longest) <= len(queue) + 1:
                raise self._refusal(queue)
            last = longest[-1]
            self._withdraw(last)
            if not last.future.done():
                last.future.set_exception(self._refusal(longest))
        task = _Task(peer, job, asyncio.get_running_loop().create_future())
        self._queues.setdefault(peer, queue).append(task)
        self._dispatch()
        return task

    def _refusal(self, queue: "deque[_Task]") -> OutOfMemory:
        self._counters["refused"] += 1
        return OutOfMemory(f"{len(queue)} allocations of this peer, {self._waiting()} of all, wait for a worker")

    def _withdraw(self, task: _Task) -> None:
        queue = self._queues.get(task.peer)
        if queue is not None and task in queue:
            queue.remove(task)
            if not queue:
                del self._queues[task.peer]

    def _next(self) -> _Task | None:
        """The next job, of the peer whose turn it is and who may have one more worker."""
        most = max(1, self._size - 1)
        peer = next((peer for peer in self._queues if self._running[peer] < most), None)
        if peer is None:
            return None
        queue = self._queues.pop(peer)
        task = queue.popleft()
        if queue:
            self._queues[peer] = queue
        return task

    # ------------------------------------------------------------ workers

    def _dispatch(self) -> None:
        """Give idle workers something to do; have one more started when there are not enough."""
        for worker in self._workers:
            if worker.handle is not None and worker.task is None:
                task = self._next()
                if task is None:
                    return
                self._assign(worker, worker.handle, task)
        if self._queues and len(self._workers) < self._size and self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._start())

    async def _start(self) -> None:
        worker = _Worker()
        try:
            worker.handle = await self._launcher.worker(lambda reason: self._ended(worker, reason))
        except OuroError as e:
            log.error("Cannot start a worker: %s", e)
            if not self._workers:
                self._fail(e)
        else:
            self._workers.add(worker)
            log.debug("Worker %d started.", worker.handle.pid)
            self._starting = None
            self._dispatch()
        finally:
            self._starting = None

    def _fail(self, error: OuroError) -> None:
        """Nobody is there to do what waits."""
        for task in [task for queue in self._queues.values() for task in queue]:
            self._withdraw(task)
            if not task.future.done():
                task.future.set_exception(IpcpError(f"no worker for the cryptography of this allocation: {error}"))

    def _assign(self, worker: _Worker, handle: IpcpHandle, task: _Task) -> None:
        worker.task = task
        self._running[task.peer] += 1
        worker.until = asyncio.get_running_loop().time() + PATIENCE
        worker.spent = processor_time(handle.pid) + PROCESSOR
        self._watch(worker, handle, task)
        reply = asyncio.ensure_future(handle.call(WorkerJob(task.job)))
        reply.add_done_callback(lambda done: self._done(worker, task, done))

    def _watch(self, worker: _Worker, handle: IpcpHandle, task: _Task) -> None:
        """Kill it when it had its task for too long; else look again when that can be so."""
        loop = asyncio.get_running_loop()
        processor, patience = worker.spent - processor_time(handle.pid), worker.until - loop.time()
        if processor > 0 and patience > 0:
            worker.timer = loop.call_later(max(min(processor, patience), _LOOK), self._watch, worker, handle, task)
            return
        self._overdue(task, f"{PROCESSOR:g} s of processor time" if patience > 0 else f"{PATIENCE:g} s")
        handle.kill()

    def _done(self, worker: _Worker, task: _Task, reply: "asyncio.Future[WorkerResult]") -> None:
        if worker.timer is not None:
            worker.timer.cancel()
        worker.task = worker.timer = None
        self._running[task.peer] -= 1
        if not self._running[task.peer]:
            del self._running[task.peer]
        self._counters["done"] += 1
        try:
            result = pickle.loads(reply.result().result)
        except (OuroError, asyncio.CancelledError) as e:  # its channel closed; `_ended` follows
            self._workers.discard(worker)
            result = IpcpError(f"the worker that did the cryptography of this allocation ended: {e}")
        if task.future.done():
            pass  # the caller gave up
        elif isinstance(result, OuroError):
            task.future.set_exception(result)
        else:
            task.future.set_result(result)
        self._dispatch()

    def _ended(self, worker: _Worker, reason: str) -> None:
        self._workers.discard(worker)
        if self._size:
            self._counters["died"] += 1
            log.error("Worker %d ended: %s", worker.handle.pid if worker.handle else 0, reason)
            self._dispatch()
