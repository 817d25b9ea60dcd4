"""What the IRM, its zygote and the processes it forks, IPCPs and workers, say to each other about these processes."""

from attrs import field, frozen

from .flow import Grant
from .request import Request


@frozen
class Spawned:
    """A forked process. `pidfd` holds one descriptor, opened by its parent, so it names no other process."""

    pid: int
    pidfd: Grant


@frozen
class ZygoteSpawn(Request[Spawned]):
    """Fork an IPCP. `channel` holds its end of the channel to the IRM; `grant` is for its packet client."""

    type: str
    name: str
    id: int
    system: str
    grant: Grant
    channel: Grant
    debug: tuple[str, ...] = ()
    log: str = "text"  # or "json"


@frozen
class ZygoteWorker(Request[Spawned]):
    """Fork a worker for slow cryptography. `channel` holds its end of the channel to the IRM."""

    channel: Grant
    debug: tuple[str, ...] = ()
    log: str = "text"  # or "json"


@frozen
class ChildEnded(Request[None]):
    """From the zygote: a child ended; `status` is that of os.waitpid."""

    pid: int
    status: int


@frozen
class IpcpEnding(Request[None]):
    """From the process of an IPCP, last of all: everything is freed, it leaves now, and why."""

    reason: str


@frozen
class WorkerResult:
    """What a job gave or, an `OuroError`, raised; pickled."""

    result: bytes = field(repr=False)


@frozen
class WorkerJob(Request[WorkerResult]):
    """To a worker: an `oap.OapJob`, pickled. Both ends are one program of one user: neither gains by lying."""

    job: bytes = field(repr=False)
