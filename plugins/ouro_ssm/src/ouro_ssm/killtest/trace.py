"""A process is stopped at an instruction, and killed there (ptrace). The caller's thread does all of it."""

import ctypes
import os
import platform
import signal
import time
from typing import Final

__all__ = ["possible", "step_and_kill"]

_SEIZE, _INTERRUPT, _STEP, _REGISTERS, _DETACH = 0x4206, 0x4207, 9, 0x4204, 17
_STATUS: Final = 1  # NT_PRSTATUS
_WALL: Final = 0x40000000
_COUNTER: Final = {"x86_64": 16, "aarch64": 32}
"""Which of the general registers is the program counter."""
_PATIENCE: Final = 0.02
"""Seconds for a step; a system call may sleep."""
_MOST: Final = 20000
"""Steps until it is in the kernel."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def possible() -> str | None:
    """None, or why processes cannot be traced here."""
    if platform.machine() not in _COUNTER:
        return f"registers of {platform.machine()} are not known"
    pid = os.fork()
    if not pid:
        time.sleep(60)
        os._exit(0)
    try:
        if _libc.ptrace(_SEIZE, pid, None, None):
            return f"ptrace: {os.strerror(ctypes.get_errno())}"
        return None
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, _WALL)


class _Traced:
    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._registers = (ctypes.c_ulong * 64)()
        self._vector = _Vector(ctypes.addressof(self._registers), 0)
        self._counter = _COUNTER[platform.machine()]

    def ask(self, request: int) -> bool:
        return bool(_libc.ptrace(request, self.pid, None, None) == 0)

    def stopped(self) -> bool:
        """Whether it stops within the time for a step."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG | _WALL)
            if pid:
                return os.WIFSTOPPED(status)
            os.sched_yield()
        return False

    def step(self) -> bool:
        """One instruction. False: it sleeps in a system call."""
        return self.ask(_STEP) and self.stopped()

    def at(self) -> int:
        self._vector.length = ctypes.sizeof(self._registers)
        _libc.ptrace(_REGISTERS, self.pid, _STATUS, ctypes.addressof(self._vector))
        return int(self._registers[self._counter])


def _text_of_kernel(pid: int) -> range:
    with open(f"/proc/{pid}/maps") as maps:
        for line in maps:
            if "r-xp" in line and "_kernel." in line:
                start, end = line.split()[0].split("-")
                return range(int(start, 16), int(end, 16))
    return range(0)


def step_and_kill(pid: int, steps: int) -> str:
    """Steps it until it is in our native code, so many instructions further in there, and kills it: "instruction",
    "asleep" when it slept on the way, "timed" when it never came there.
    """
    traced = _Traced(pid)
    how = "timed"
    try:
        if not traced.ask(_SEIZE) or not traced.ask(_INTERRUPT) or not traced.stopped():
            return how
        text = _text_of_kernel(pid)
        left = steps
        for _ in range(_MOST + steps):
            if traced.at() in text:
                how = "instruction"
                if not left:
                    return how
                left -= 1
            if not traced.step():
                return "asleep"
        return how
    finally:
        os.kill(pid, signal.SIGKILL)
        _reaped(pid)


def _reaped(pid: int) -> None:
    """The tracer hears of the end first; only then does the parent."""
    try:
        while os.WIFSTOPPED(os.waitpid(pid, _WALL)[1]):
            pass
    except ChildProcessError:
        pass
