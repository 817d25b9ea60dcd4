"""Kinds: what plugins can register, what its members must be, and where to get those that are missing."""

import inspect
import re
from collections.abc import Mapping
from typing import Any, Final, get_args, get_origin

import attrs

from ..contracts.crypto import Authenticator, CipherSuite, Digest, Kdf, KexSuite
from ..contracts.directory import DirectoryPolicy
from ..contracts.ipcp import Ipcp
from ..contracts.packets import PacketSystem
from ..model.config import options
from ..model.errors import PluginError

__all__ = ["BROUGHT_BY", "IPCP_KEYS", "IPCP_WORDS", "KINDS", "check_member", "named", "singular", "words_for"]

IPCP_WORDS: Final = frozenset({"type", "layer", "name", "hash", "autobind"})
"""What the command line says of IPCPs of every type: no option of a type has such a keyword, ..."""
IPCP_KEYS: Final = frozenset({"autobind", "bootstrap", "conn", "enrol", "hash", "reg"})
"""... or such a key in TOML files."""

KINDS: Final[Mapping[str, Any]] = {
    "ipcp_types": type[Ipcp],
    "directory_policies": type[DirectoryPolicy],
    "pool_allocators": type[PacketSystem],
    "kex_suites": KexSuite,
    "cipher_suites": CipherSuite,
    "kdfs": Kdf,
    "digests": Digest,
    "authenticators": Authenticator,
}
"""What each kind takes: `type[X]` stands for classes derived from X, X for instances."""

BROUGHT_BY: Final[Mapping[str, Mapping[str, str]]] = {
    "ipcp_types": {
        "eth-dix": "ouro-eth", "eth-llc": "ouro-eth", "udp4": "ouro-udp", "udp6": "ouro-udp",
        "udp": "ouro-udp",
        "unicast": "ouro-unicast", "broadcast": "ouro-unicast",
    },
    "directory_policies": {"dht": "ouro-dht"},
    "pool_allocators": {"ssm": "ouro-ssm"},
    "kex_suites": dict.fromkeys(
        ("ML-KEM-512", "ML-KEM-768", "ML-KEM-1024", "X25519MLKEM768", "X448MLKEM1024"), "ouro-pqc"
    ),
    "authenticators": {"ML-DSA": "ouro-pqc", "SLH-DSA": "ouro-pqc"},
}  # fmt: skip
"""Where to get what is missing."""


def check_member(base: Any, item: Any) -> None:
    """PluginError unless `item` is what `base` (a value of `KINDS`) asks for: complete, with a name, and with options
    that can be given.
    """
    if get_origin(base) is type:
        (parent,) = get_args(base)
        fits, wanted = isinstance(item, type) and issubclass(item, parent), f"a subclass of {parent.__name__}"
    else:
        fits, wanted = isinstance(item, base), f"an instance of {base.__name__}"
    if not fits:
        raise PluginError(f"{item!r:.80} is not {wanted}")
    if inspect.isabstract(item):
        raise PluginError(f"{item.__name__} does not implement {', '.join(sorted(item.__abstractmethods__))}")
    _check_word("name", getattr(item, "name", None), item)
    for alias in words_for(item)[1:]:
        _check_word("alias", alias, item)
    if (config := getattr(item, "Config", None)) is not None:
        _check_config(item, config)


def _check_config(item: Any, config: Any) -> None:
    """Commands list the options of all that is installed, so one that is none would break them for everybody."""
    if not (isinstance(config, type) and attrs.has(config)):
        raise PluginError(
            f"the Config of {item!r:.80} is {config!r:.80}; it needs a frozen attrs class with fields made by option()"
        )
    for o in options(config):
        _check_word("keyword of an option", o.keyword, item)
        if isinstance(item, type) and issubclass(item, Ipcp) and (o.keyword in IPCP_WORDS or o.key in IPCP_KEYS):
            raise PluginError(
                f'the option "{o.name}" of {item!r:.80} cannot be given: IPCPs of every type have'
                f" {', '.join(sorted(IPCP_WORDS | IPCP_KEYS))}; name it otherwise, or say keyword= and key="
            )


def _check_word(what: str, word: object, item: Any) -> None:
    if not isinstance(word, str) or not word.isprintable() or len(word.split()) != 1:
        raise PluginError(f"the {what} of {item!r:.80} is {word!r}; it needs one word")


def words_for(item: Any) -> tuple[str, ...]:
    """What names a member: its name, then its aliases if its kind has such."""
    return item.name, *getattr(item, "aliases", ())


def named(word: str, members: Mapping[str, Any]) -> Any:
    """The member that a word names; None: there is none."""
    return members.get(word) or next((item for item in members.values() if word in words_for(item)), None)


def singular(kind: str) -> str:
    """A kind, in words for one of its members: "address authority"."""
    return re.sub("ies$", "y", kind.replace("_", " ").replace("ipcp", "IPCP")).removesuffix("s")
