"""Programs that are started because somebody wants a flow to their name (spec: irmd.md 5)."""

import asyncio
import os
import pwd
import signal
import stat
import subprocess
from collections.abc import Mapping

from ..model.errors import InvalidArgument, NotPermitted
from ..model.log import logger
from ..rpc.fds import close_fds
from .registry import Name, Program

__all__ = ["Starter", "check_program"]

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


class Starter:
    """Starts programs, as the user who bound them, and sees them end. One that is still coming up is not started
    again.
    """

    def __init__(self, environment: Mapping[str, str], start_window: float) -> None:
        self._environment = dict(environment)
        self._start_window = start_window
        self._children: dict[tuple[str, str], tuple[subprocess.Popen[bytes], int, float]] = {}
        self.started = 0

    def start(self, name: Name) -> None:
        """Start the first automatic program of a name. A failure is a line in the log: the request times out."""
        program = next((p for p in name.programs if p.auto), None)
        if program is None:
            log.debug("No program bound for %s.", name.name)
            return
        key = (name.name, program.path)
        loop = asyncio.get_running_loop()
        running = self._children.get(key)
        if running is not None and loop.time() < running[2] + self._start_window:
            return
        try:
            child = self._spawn(program)
            pidfd = os.pidfd_open(child.pid)
        except (OSError, subprocess.SubprocessError, KeyError) as e:
            log.error("Could not start %s for %s: %s", program.path, name.name, e)
            return
        self.started += 1
        log.info("Started %s as process %d for %s.", program.path, child.pid, name.name)
        if running is not None:
            key = (f"{name.name}#{running[0].pid}", program.path)
        self._children[key] = (child, pidfd, loop.time())
        loop.add_reader(pidfd, self._ended, key)

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

    def _ended(self, key: tuple[str, str]) -> None:
        child, pidfd, _ = self._children.pop(key)
        asyncio.get_running_loop().remove_reader(pidfd)
        close_fds([pidfd])
        status = child.wait()
        log.info("Program %s (process %d) ended with status %d.", key[1], child.pid, status)

    def close(self) -> None:
        """End what was started: it serves names of this IRM only."""
        loop = asyncio.get_running_loop()
        for child, pidfd, _ in self._children.values():
            loop.remove_reader(pidfd)
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(1.0)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            close_fds([pidfd])
        self._children.clear()
