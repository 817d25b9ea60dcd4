"""The IRM daemon: `ouro irmd` (spec: irmd.md 9).

It starts in this order: arguments, log, runtime directory and its lock, the zygote (a fork of a process without
threads,
loop or mappings), the loop, the socket, the configuration file. SIGTERM, SIGINT, SIGHUP and SIGQUIT end it in order.

The lock is an advisory lock on a file in the runtime directory, which the kernel gives back however its holder ends; so
nothing is ever stale: a socket file without a lock is only a name, and is replaced.
"""

import argparse
import asyncio
import fcntl
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Final, NoReturn

from .. import __version__
from ..ipcp.spawner import ZygoteLauncher
from ..model.errors import IrmdError, NotPermitted, OuroError
from ..model.log import logger, setup_logging
from ..plugins import PluginHost
from ..rpc.credentials import own_credentials
from ..rpc.near import NearCaller
from ..rpc.paths import irm_socket, runtime_dir
from .configfile import Configuration, apply, load_configuration
from .irm import Irm
from .server import IrmServer

__all__ = ["main"]

log = logger("irmd")
_ENDS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def main(arguments: list[str] | None = None, prog: str = "irmd") -> int:
    """Run until a signal; the exit status. 1: it could not start, or the configuration file failed."""
    options = _parse(arguments, prog)
    for number in _ENDS:  # until the loop has its handlers
        signal.signal(number, lambda *_: sys.exit(0))
    debug = [w for w in (options.debug or os.environ.get("OURO_DEBUG", "")).split(",") if w]
    output = sys.stdout if options.stdout else sys.stderr
    setup_logging(options.log, debug, output)
    try:
        configuration = load_configuration(Path(options.config)) if options.config else Configuration()
        lock = _lock(_prepare(irm_socket().parent))
    except OuroError as e:
        log.error("%s", e)
        return 1
    _many_descriptors()
    try:
        plugins = PluginHost.from_environment()
        launcher = ZygoteLauncher(plugins, debug=debug, log=options.log, output=output)
        status = asyncio.run(_serve(plugins, launcher, configuration))
        os.ftruncate(lock, 0)
    except OuroError as e:
        log.error("%s", e)
        return 1
    else:
        log.info("Ouroboros IPC Resource Manager daemon exited. Bye.")
        return status
    finally:
        os.close(lock)


def _parse(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = _Parser(prog=prog, description="The Ouroboros IPC resource manager daemon.")
    parser.add_argument("--stdout", action="store_true", help="log to standard output instead of standard error")
    parser.add_argument("--config", metavar="FILE", help="TOML file with names and IPCPs to make at the start")
    parser.add_argument("--debug", metavar="A,B", default="", help="protocol debugging for these components, or all")
    parser.add_argument("--log", choices=("text", "json"), default="text", help="form of the log")
    parser.add_argument("--version", action="version", version=f"Ouroboros version {__version__}")
    return parser.parse_args(arguments)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """As the prototype: usage, and status 1."""
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def _prepare(directory: Path) -> Path:
    """The runtime directory, ours alone to write in; everybody may look for the socket."""
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        status = directory.stat()
    except OSError as e:
        raise IrmdError(f"cannot make runtime directory {directory}: {e.strerror}; set OURO_RUNTIME_DIR") from None
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise NotPermitted(
            f"runtime directory {directory} belongs to user {status.st_uid} with mode {status.st_mode & 0o777:o}; "
            "it must be this user's own and not writable by others"
        )
    return directory


def _lock(directory: Path) -> int:
    """A descriptor that holds the lock of a runtime directory. IrmdError when another daemon has it."""
    path = directory / "irmd.lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as e:
        raise IrmdError(f"cannot make {path}: {e.strerror}; set OURO_RUNTIME_DIR") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(fd, 32).decode(errors="replace").strip()
        os.close(fd)
        raise IrmdError(
            f"IRMd already running ({holder or 'unknown process'}) in {directory}, exiting. "
            "Another one needs another OURO_RUNTIME_DIR."
        ) from None
    if os.fstat(fd).st_size and (directory / irm_socket().name).exists():
        log.warning("IRMd didn't properly shut down last time.")
    os.ftruncate(fd, 0)
    os.write(fd, f"{os.getpid()}\n".encode())
    return fd


def _many_descriptors() -> None:
    """As many as we may have: each flow and each process costs some, and the usual soft limit is for select()."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _serve(plugins: PluginHost, launcher: ZygoteLauncher, configuration: Configuration) -> int:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in _ENDS:
        loop.add_signal_handler(number, ended.set)
    irm = Irm(plugins, launcher, settings=configuration.settings, environment=_environment())
    irm.configured = False
    server = IrmServer(irm, irm_socket())
    log.info("Ouroboros IPC Resource Manager daemon started...")
    status = 0
    try:
        setup = asyncio.ensure_future(apply(configuration, NearCaller(irm.session(own_credentials()).call), plugins))
        waiting = asyncio.ensure_future(ended.wait())
        await asyncio.wait({setup, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not setup.done():
            setup.cancel()
        elif setup.exception() is not None:
            log.error("Configuration failed: %s", setup.exception())
            status = 1
            ended.set()
        else:
            irm.configured = True
        await waiting
        log.info("IRMd shutting down...")
    finally:
        server.close()
        await irm.close()
    return status


def _environment() -> dict[str, str]:
    """What programs that are started see of ours."""
    kept = {k: os.environ[k] for k in ("PATH", "LANG", "OURO_PLUGINS", "OURO_BLOCK_PLUGINS") if k in os.environ}
    return {**kept, "OURO_RUNTIME_DIR": os.fspath(runtime_dir())}


if __name__ == "__main__":
    sys.exit(main())
