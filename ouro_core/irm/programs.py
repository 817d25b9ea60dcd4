"""Programs that are started because somebody wants a flow to their name (spec: irmd.md 5)."""

import asyncio
import contextlib
import os
import pwd
import signal
import stat
import subprocess
import time
from collections.abc import Mapping

from attrs import define

from ..model.errors import InvalidArgument, NotPermitted
from ..model.log import logger
from ..rpc.fds import close_fds
from .registry import Name, Program
from .settings import MAX_STARTED_PER_NAME

__all__ = ["Child", "Starter", "check_program"]

log = logger("irmd")


def check_program(path: str, uid: int, start: bool) -> str:
    """The path of a program that user `uid` binds, and wants started if `start`. InvalidArgument, NotPermitted.

    Of another user's program nothing is said but that: he would learn what files there are from us.
    """
    if not path.startswith("/"):
        raise InvalidArgument(f"{path} is no absolute path")
    if uid != os.geteuid():
        if start and os.geteuid() != 0:
            raise NotPermitted(f"this IRMd runs as user {os.geteuid()} and cannot start programs as user {uid}")
        return path
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # ValueError: a NUL
        mode = 0
    if not stat.S_ISREG(mode):
        raise InvalidArgument(f"{path} does not exist.")
    if not mode & 0o111:
        raise InvalidArgument(f"Cannot execute {path}, please check permissions.")
    return path


@define(eq=False)
class Child:
    """A program that was started for a name. `failure`: why nobody needs to wait for it any more."""

    name: Name
    program: Program
    since: float
    process: "subprocess.Popen[bytes] | None" = None
    pidfd: int = -1
    failure: str = ""


class Starter:
    """Starts programs, as the user who bound them, and sees them end. One that is still coming up is not started
    again.
    """

    def __init__(self, environment: Mapping[str, str], start_window: float) -> None:
        self._environment = dict(environment)
        self._start_window = start_window
        self._latest: dict[tuple[str, str], Child] = {}
        self._running: set[Child] = set()
        self.started = 0

    def start(self, name: Name) -> Child:
        """Start the first automatic program of a name, unless it is coming up. A failure is in the child, and in the
        log.
        """
        program = next(p for p in name.programs if p.auto)
        key, now = (name.name, program.path), asyncio.get_running_loop().time()
        latest = self._latest.get(key)
        if latest is not None and latest in self._running and now < latest.since + self._start_window:
            return latest
        child = self._latest[key] = Child(name, program, now)
        running = sum(1 for other in self._running if other.name is name)
        if running >= MAX_STARTED_PER_NAME:
            child.failure = f'{running} programs that were started for "{name.name}" run, and none accepts'
            log.error("%s.", child.failure)
            return child
        try:
            child.process = self._spawn(program)
            child.pidfd = os.pidfd_open(child.process.pid)
        except (OSError, subprocess.SubprocessError, KeyError) as e:
            child.failure = f'program {program.path} could not be started for "{name.name}": {e}'
            log.error("%s", child.failure)
            return child
        self.started += 1
        self._running.add(child)
        log.info("Started %s as process %d for %s.", program.path, child.process.pid, name.name)
        asyncio.get_running_loop().add_reader(child.pidfd, self._ended, child)
        return child

    def _spawn(self, program: Program) -> "subprocess.Popen[bytes]":
        environment = dict(self._environment)
        identity: dict[str, object] = {}
        if os.geteuid() == 0 and program.uid != 0:
            user = pwd.getpwuid(program.uid)
            groups = os.getgrouplist(user.pw_name, user.pw_gid)
            identity = {"user": program.uid, "group": user.pw_gid, "extra_groups": groups}
            identity |= {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # our log is not his to write
            environment["HOME"] = user.pw_dir
        child: subprocess.Popen[bytes] = subprocess.Popen(
            [program.path, *program.args], stdin=subprocess.DEVNULL, env=environment, cwd="/",
            start_new_session=True, close_fds=True, **identity,  # type: ignore[call-overload]
        )  # fmt: skip
        return child

    def _ended(self, child: Child) -> None:
        self._forget(child)
        assert child.process is not None
        status = child.process.wait()
        child.failure = (
            f'program {child.program.path}, started for "{child.name.name}", ended with status {status} '
            "before it accepted; see the IRMd's log"
        )
        log.info("Program %s (process %d) ended with status %d.", child.program.path, child.process.pid, status)
        child.name.wake()

    def _forget(self, child: Child) -> None:
        self._running.discard(child)
        asyncio.get_running_loop().remove_reader(child.pidfd)
        close_fds([child.pidfd])

    def close(self) -> None:
        """End what was started: it serves names of this IRM only."""
        children, deadline = list(self._running), time.monotonic() + 1.0
        for child in children:
            self._forget(child)
            _signal(child, signal.SIGTERM)
        for child in children:
            assert child.process is not None
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal(child, signal.SIGKILL)
                child.process.wait()
        self._latest.clear()


def _signal(child: Child, number: int) -> None:
    """To the program and what it has started in its session."""
    assert child.process is not None
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended, or become another user's
        os.killpg(child.process.pid, number)
