"""Network namespaces for tests of layers on real devices: private to the test, gone with it. Linux, root.

    with Namespace() as a, Namespace() as b:
        join(a, "v0", b, "v0")
        with a.inside():
            host.start()            # what is started, and every socket that is opened, belongs to `a`

A namespace belongs to a thread. Processes and threads that are started within `inside()` stay in it; sockets too.
"""

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final

__all__ = ["Namespace", "hub", "join", "queue", "unusable"]

_CLONE_NEWNET: Final = 0x40000000


def unusable() -> str | None:
    """None, or why there can be no namespaces here: the reason to skip a test."""
    if not hasattr(os, "geteuid") or os.geteuid():
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "needs ip (iproute2)"
    try:
        with Namespace():
            return None
    except OSError as e:
        return f"no network namespaces here: {e.strerror}"


class Namespace:
    """A network of its own, with `lo` up and nothing else. Without a name: it goes with what is in it."""

    def __init__(self) -> None:
        self._fd = -1

    def __enter__(self) -> "Namespace":
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call("unshare", _CLONE_NEWNET)
            try:
                self._fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            finally:
                _call("setns", here, _CLONE_NEWNET)
        finally:
            os.close(here)
        self.ip("link", "set", "lo", "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    @property
    def path(self) -> str:
        """Names it, for programs that take a path: `ip link ... netns`, `nsenter --net=`."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread is in it."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call("setns", self._fd, _CLONE_NEWNET)
            try:
                yield
            finally:
                _call("setns", here, _CLONE_NEWNET)
        finally:
            os.close(here)

    def ip(self, *words: str) -> str:
        """What `ip` says, run in it. RuntimeError with its complaint."""
        return self.run("ip", *words)

    def run(self, *command: str) -> str:
        """What a program says that is run in it. RuntimeError with its complaint."""
        with self.inside():
            done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout


def join(a: Namespace, device_a: str, b: Namespace, device_b: str, mtu: int = 1500) -> None:
    """A pair of veth devices, one in each namespace, up. `a` may be `b`."""
    macs = (f"02:00:00:{os.urandom(2).hex(':')}:01", f"02:00:00:{os.urandom(2).hex(':')}:02")
    a.ip("link", "add", device_a, "address", macs[0], "mtu", str(mtu), "type", "veth",
         "peer", "name", device_b, "address", macs[1], "mtu", str(mtu), "netns", b.path)  # fmt: skip
    a.ip("link", "set", device_a, "up")
    b.ip("link", "set", device_b, "up")
    for namespace, device in ((a, device_a), (b, device_b)):  # until then the kernel drops what is sent
        _wait(namespace, device, " state UP ")


def hub(namespace: Namespace, *devices: str) -> None:
    """A segment in one namespace: what any of the devices sends all others get, whoever it is for."""
    namespace.ip("link", "add", "hub", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
    namespace.ip("link", "set", "hub", "up")
    for device in devices:
        port = f"{device}.p"
        join(namespace, device, namespace, port)
        namespace.ip("link", "set", port, "master", "hub")
        namespace.ip("link", "set", port, "type", "bridge_slave", "learning", "off", "flood", "on")
        _wait(namespace, port, " state forwarding ")
    namespace.ip("link", "set", "hub", "type", "bridge", "fdb_flush")  # what it had learnt before it was told not to


def queue(namespace: Namespace, device: str, *words: str) -> str | None:
    """A queueing discipline for what a device sends, in the words of `tc`: `"netem", "loss", "10%"`. None; or why there
    is none: kernels are built without some of them.
    """
    try:
        namespace.run("tc", "qdisc", "replace", "dev", device, "root", *words)
    except (OSError, RuntimeError) as e:
        return f"no {words[0]} here: {e}"
    return None


def _wait(namespace: Namespace, device: str, state: str) -> None:
    deadline = time.monotonic() + 20
    while state not in namespace.ip("-details", "link", "show", "dev", device):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{device} did not come into{state}")
        time.sleep(0.01)


def _call(function: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
