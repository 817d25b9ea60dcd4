"""A worker: a process that does slow cryptography for the IRM, one job after the other.

It is forked by the zygote, which has the suites imported, or started as `python -m ouro_core.ipcp.worker FD` with the
message `ZygoteWorker` on standard input. It has no loop: it reads a job, does it, answers. It gives way to every
process of ordinary priority, the IRM first of all. End of file means that the IRM is gone.
"""

import logging
import os
import pickle
import signal
import socket
import sys
from typing import Final

from ..model.errors import IpcpError, OuroError, WireError
from ..model.ipcp_requests import IpcpShutdown
from ..model.log import logger, setup_logging
from ..model.zygote_requests import WorkerJob, WorkerResult, ZygoteWorker
from ..oap import OapJob, OapSuites
from ..plugins import PluginHost
from ..plugins.suites import oap_suites
from ..wire.control import Frame, FrameDecoder, Kind, decode, encode, frame_bytes
from .process import set_comm

__all__ = ["run"]

NICENESS: Final = 10
_READ: Final = 65536
_log = logger("irmd/worker")


def run(spawn: ZygoteWorker, plugins: PluginHost) -> int:
    """Serve until the IRM closes the channel or says so; the exit status of the process."""
    set_comm("ouro-worker")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is for the IRMd, which ends us in order
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    setup_logging(spawn.log, spawn.debug)
    os.nice(NICENESS)
    (fd,) = spawn.channel.fds
    with socket.socket(fileno=fd) as sock:
        try:
            _serve(sock, oap_suites(plugins))
        except (BrokenPipeError, ConnectionResetError):
            pass  # the IRM is gone
        except WireError as e:
            _log.error("Worker ends: %s", e)
            return 1
    logging.shutdown()
    return 0


def _serve(sock: socket.socket, suites: OapSuites) -> None:
    sock.setblocking(True)
    decoder = FrameDecoder()
    while data := sock.recv(_READ):
        for frame in decoder.feed(data):
            if frame.kind is not Kind.REQUEST:
                continue  # a job that was given up is under way, or done
            request = decode(frame.type, frame.body)
            if isinstance(request, IpcpShutdown):
                sock.sendall(frame_bytes(Frame(Kind.REPLY, frame.id)))
                return
            if not isinstance(request, WorkerJob):
                raise WireError(f"{frame.type or 'nothing'} is no request for a worker")
            sock.sendall(frame_bytes(_reply(frame.id, request, suites)))


def _reply(number: int, request: WorkerJob, suites: OapSuites) -> Frame:
    result: object
    try:
        job: OapJob[object] = pickle.loads(request.job)
        result = job.run(suites)
    except OuroError as e:
        result = e
    except Exception as e:
        _log.exception("A suite raised what it may not.")
        result = IpcpError(f"internal error in cryptography: {e!r}; the log has the details")
    name, body, _ = encode(WorkerResult(pickle.dumps(result)))
    return Frame(Kind.REPLY, number, name, body)


def main() -> int:
    fds = [int(word) for word in sys.argv[1:]]
    for fd in fds:
        os.set_inheritable(fd, False)
    return run(decode("ZygoteWorker", sys.stdin.buffer.read(), fds), PluginHost.from_environment())


if __name__ == "__main__":
    sys.exit(main())
