"""Members that are known without a name server: peers of the configuration, and a file in the manner of hosts(5).

A name stands for its MD5 hash; 32 lower-case hexadecimal digits are taken for a hash, as they are what the prototype
looks up.
"""

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from attrs import field, frozen

from ouro_core.model.errors import ConfigError, InvalidArgument
from ouro_core.model.names import HashAlgorithm, check_name, hash_name

from .addresses import Address, Family

__all__ = ["HostsFile", "Peers"]

_HASH: Final = re.compile("[0-9a-f]{32}")
_LONGEST_FILE: Final = 1 << 20
"""Bytes."""


def hash_of(word: str) -> bytes:
    """The hash that a word stands for. ValueError: it cannot be a name."""
    if _HASH.fullmatch(word):
        return bytes.fromhex(word)
    try:
        return hash_name(check_name(word), HashAlgorithm.MD5)
    except InvalidArgument as e:
        raise ValueError(str(e)) from None


@frozen
class Peers:
    """`NAME=ADDRESS,...`; one `ADDRESS` without a name is where all other names are looked for."""

    by_hash: Mapping[bytes, Address] = field(factory=dict)
    other: Address | None = None
    text: str = field(default="", eq=False)

    @classmethod
    def parse(cls, family: Family, text: str) -> "Peers":
        """From the configuration. ValueError."""
        by_hash: dict[bytes, Address] = {}
        other: Address | None = None
        for item in filter(None, (part.strip() for part in text.split(","))):
            name, equals, at = item.rpartition("=")
            try:
                address = family.parse_peer(at)
            except ValueError as e:
                raise ValueError(f'"{item}": {e}') from None
            if equals:
                by_hash[hash_of(name)] = address
            elif other is None:
                other = address
            else:
                raise ValueError(f"{other} and {address} are both without a name; which is to be asked for any other?")
        return cls(by_hash, other, text)

    def __str__(self) -> str:
        return self.text


class HostsFile:
    """The file as it is now: it is read again when it has changed."""

    def __init__(self, path: str, family: Family, scope: int = 0) -> None:
        """`scope`: the interface of link-local addresses that do not say theirs."""
        self.path = Path(path)
        self._family, self._scope = family, scope
        self._seen: tuple[int, int, int] | None = None
        self._entries: dict[bytes, Address] = {}

    def read(self) -> None:
        """Look whether it changed. ConfigError says which line is wrong; what it said before stays."""
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                seen = status.st_ino, status.st_mtime_ns, status.st_size
                if seen == self._seen:
                    return
                self._seen = seen
                data = file.read(_LONGEST_FILE + 1)
        except OSError as e:
            self._seen = None
            raise ConfigError(f"cannot read the hosts file {self.path}: {e.strerror}") from None
        if len(data) > _LONGEST_FILE:
            raise ConfigError(f"the hosts file {self.path} is longer than {_LONGEST_FILE} bytes; is it the right one?")
        self._entries = self._parse(data)

    def _parse(self, data: bytes) -> dict[bytes, Address]:
        entries: dict[bytes, Address] = {}
        for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
            address, *names = line.partition("#")[0].split() or [""]
            if not address or _of_no_member(address, self._family):
                continue
            try:
                if not names:
                    raise ValueError("needs names behind the address")
                at = self._family.parse_peer(address, self._scope)
                for name in names:
                    entries.setdefault(hash_of(name), at)
            except ValueError as e:
                raise ConfigError(f"{self.path}, line {number}: {address} {e}") from None
        return entries

    def find(self, hash: bytes) -> Address | None:
        """Where the name with this hash is, by what was read last."""
        return self._entries.get(hash)

    def __len__(self) -> int:
        return len(self._entries)


def _of_no_member(text: str, family: Family) -> bool:
    """Whether it is an address of the other family or of many hosts, such as stand in /etc/hosts."""
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return ip.version != family.version or ip.is_multicast
