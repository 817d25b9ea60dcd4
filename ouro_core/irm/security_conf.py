"""The configuration of encryption of one name on one side: enc.conf (spec: oap.md 8.1).

    # comment; comments stand on lines of their own
    kex = X25519              # not a comment: this line is an error

| key | value | default |
|---|---|---|
| kex | a key exchange: prime256v1, X25519, ... | prime256v1 |
| cipher | aes-256-gcm, chacha20-poly1305, ... | aes-256-gcm |
| kdf, digest | sha256, sha3-512, ... | sha256 |
| kem_mode | server, client: who encapsulates, when the key exchange is a KEM | server |
| auth | optional, required: whether a peer may come without certificate; ours, the prototype ignores it | optional |
| pqc | off, prefer, require: post-quantum algorithms; ours, the prototype ignores it | as the other lines say |

A later line replaces an earlier one. A line that is exactly `none` makes the flow plain and ends the file; of what
stands above it only `auth` and `pqc` are kept, and `pqc = require` is an error with it. An unknown key is ignored with
a warning, as the prototype ignores it, unless it looks like `auth` or `pqc`, whose demands a slip must not take away;
that, an unknown value or a NUL byte is an error for the whole file.
"""

import codecs
import difflib
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from ..model.errors import CryptError
from ..oap import Encryption, KemMode, OapSuites, PqPolicy, SuiteTable

__all__ = ["MAX_LINE", "EncConf", "parse_enc_conf"]

MAX_LINE: Final = 255
"""Bytes of a line; the prototype cuts longer ones."""
_AUTH: Final = {"optional": False, "required": True}
_MODES: Final = {mode.value: mode for mode in KemMode}
_POLICIES: Final = {policy.value: policy for policy in PqPolicy}
_WORDS: Final[Mapping[str, Mapping[str, object]]] = {"kem_mode": _MODES, "auth": _AUTH, "pqc": _POLICIES}
_KEYS: Final = ("kex", "cipher", "kdf", "digest", *_WORDS)
_ALIKE: Final = 0.66
"""How much of a word may be right for it to be a slip."""


@frozen
class EncConf:
    """What a file says. `encryption` None: `none`, the flow is plain. `warnings` name file and line."""

    encryption: Encryption | None
    require_peer: bool = False
    warnings: tuple[str, ...] = ()
    pqc: PqPolicy | None = None


def parse_enc_conf(content: bytes, path: str, suites: OapSuites) -> EncConf:
    """The configuration in the content of the file `path`. CryptError names file, line and remedy: an unknown value, an
    algorithm that is not available here, a line that is too long.
    """
    found: dict[str, str] = {}
    places: dict[str, str] = {}
    warnings = []
    plain = False
    if b"\0" in content:
        raise CryptError(f"{path}:1: a NUL byte, so this is no text; save it as UTF-8")
    content = content.removeprefix(codecs.BOM_UTF8)
    for number, raw in enumerate(content.split(b"\n"), 1):
        where = f"{path}:{number}"
        if len(raw) > MAX_LINE:
            raise CryptError(f"{where}: a line of {len(raw)} bytes; at most {MAX_LINE} are read")
        line = raw.decode(errors="backslashreplace").strip()
        if line == "none":
            plain = True
            break
        if not line or line.startswith("#"):
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or key not in _KEYS:
            _not_ours(key, where)
            what = f'unknown key "{key}"' if equals else f'"{line}" is no `key = value`'
            warnings.append(f"{where}: {what}, ignored; known: {', '.join(_KEYS)}, or the word none")
            continue
        try:
            _check(key, value, suites)
        except CryptError as e:
            hint = "; a comment needs a line of its own" if "#" in value else ""
            raise CryptError(f"{where}: {e}{hint}") from None
        found[key], places[key] = value, where
    required = _AUTH[found.pop("auth", "optional")]
    policy = _POLICIES[found.pop("pqc")] if "pqc" in found else None
    if plain and policy is PqPolicy.REQUIRE:
        raise CryptError(f"{places['pqc']}: pqc = require, and `none` makes the flow plain; remove one of the two")
    encryption = None if plain else _encryption(found, path, suites)
    if encryption is not None and policy is PqPolicy.OFF and suites.kexes.named(encryption.kex).post_quantum:
        raise CryptError(
            f"{places['kex']}: {encryption.kex} is post-quantum, and pqc = off; take another, such as X25519"
        )
    return EncConf(encryption, required, tuple(warnings), policy)


def _not_ours(key: str, where: str) -> None:
    """CryptError: this unknown key is one of ours with a slip in it, and what it demands must not be lost."""
    word = key.lower()
    for ours in ("auth", "pqc"):
        if word.startswith(ours) or difflib.SequenceMatcher(None, word, ours).ratio() > _ALIKE:
            raise CryptError(f'{where}: unknown key "{key}"; write {ours} if that is meant')


def _check(key: str, value: str, suites: OapSuites) -> None:
    """CryptError unless this value can be used here."""
    words = _WORDS.get(key)
    if words is not None:
        if value not in words:
            raise CryptError(f'unknown {key} "{value}"; known: {", ".join(words)}')
        return
    tables: Mapping[str, SuiteTable[Any]] = {
        "kex": suites.kexes, "cipher": suites.ciphers, "kdf": suites.kdfs, "digest": suites.digests,
    }  # fmt: skip
    tables[key].named(value)


def _encryption(found: Mapping[str, str], path: str, suites: OapSuites) -> Encryption:
    """With the defaults of keys that are not given, which must be available as well."""
    default = Encryption()
    for key in ("kex", "cipher", "kdf", "digest"):
        if key not in found:
            try:
                _check(key, getattr(default, key), suites)
            except CryptError as e:
                raise CryptError(f"{path}: no line `{key} = ...`, and of the default: {e}") from None
    values = {key: value for key, value in found.items() if key != "kem_mode"}
    return Encryption(**values, kem_mode=_MODES[found.get("kem_mode", "server")])
