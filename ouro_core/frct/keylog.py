"""The key log: keys of flows for analysers of captured packets, when `OURO_KEYLOG` names a file.

One line a flow end, appended; both ends of a flow, and both directions, have the same key:

    <OAP id, 32 hex digits> <flow id> <cipher> <key, 64 hex digits> <name>

The OAP id is the first 16 bytes of the allocation's request and response, as they are on the wire. The key is that of
the first epoch; those that follow can be derived from it. Whoever has the file can read everything.
"""

import os
import stat
from typing import Final

from ouro_core.model.irm_requests import Allocation
from ouro_core.model.log import logger

__all__ = ["VARIABLE", "log_key"]

VARIABLE: Final = "OURO_KEYLOG"

_log = logger("keylog")


def log_key(allocation: Allocation) -> None:
    """Add an encrypted flow to the file, if one is wanted. One that cannot be written is reported in the log; the flow
    works all the same.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        return
    a = allocation
    line = f"{a.oap.hex() or '-'} {a.flow_id} {a.suite} {a.key.hex()} {a.name}\n"
    try:
        _append(path, line.encode())
    except OSError as e:
        _log.warning('the key of flow %d was not logged to "%s": %s', a.flow_id, path, e)


def _append(path: str, line: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077 or found.st_uid != os.geteuid():
            raise PermissionError("it must be a plain file of this user that nobody else can read or write: chmod 600")
        os.write(fd, line)  # at once: lines of several processes do not mix
    finally:
        os.close(fd)
