"""liboqs by way of liboqs-python, with which one does not speak without a guard.

`import oqs` without a library that can be loaded counts down five seconds, clones a repository, builds it for minutes
and ends the process when that fails; it logs to standard output in any case. So the library is looked for where
`oqs` looks, and loaded, first; only then comes the import, whose output goes nowhere, and whose SystemExit is caught.
The distribution is liboqs-python: what PyPI calls `oqs` is something else.
"""

import ctypes
import io
import os
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from ctypes.util import find_library
from functools import cached_property
from importlib import import_module, metadata
from pathlib import Path
from threading import Lock
from typing import Any

from ouro_core.model.errors import NotSupported

from ..parameters import SEED, KemParameters, SignatureParameters
from .base import Form, KemBackend, Library, SignatureBackend

__all__ = ["Liboqs"]

_lock = Lock()


class Liboqs(Library):
    """Imported at most once, and asked for its algorithms."""

    name = "liboqs"

    def kem(self, parameters: KemParameters) -> KemBackend:
        oqs = self._usable()
        if not oqs.is_kem_enabled(parameters.name):
            raise NotSupported(f"was built without {parameters.name}")
        return _Kem(oqs, parameters)

    def signatures(self, parameters: SignatureParameters) -> SignatureBackend:
        oqs = self._usable()
        name = parameters.name
        if not parameters.seed:
            name = f"{name.replace('SLH-DSA', 'SLH_DSA_PURE').replace('-', '_').upper()}"
        if not oqs.is_sig_enabled(name):
            raise NotSupported(f"was built without {parameters.name}")
        return _Signatures(oqs, name)

    def _usable(self) -> Any:
        with _lock:
            found = self._found
        if isinstance(found, str):
            raise NotSupported(found)
        return found

    @cached_property
    def _found(self) -> Any:
        """The module, or why it is not used."""
        try:
            metadata.distribution("liboqs-python")
        except metadata.PackageNotFoundError:
            return "not installed"
        broken = []
        for path in dict.fromkeys(_places()):
            try:
                ctypes.CDLL(path).OQS_KEM_new  # noqa: B018  # is it the library that it should be?
                break
            except (OSError, AttributeError) as error:
                broken.append(f"{path}: {error}")
        else:
            if broken:
                return f"its library cannot be loaded ({'; '.join(broken)}): install it anew"
            return "liboqs-python is installed, its library is not: install liboqs.so, from your system or from source"
        return _imported()


def _places() -> Iterator[str]:
    """Paths where `oqs` looks for the library, those that exist."""
    for name in ("oqs", "liboqs"):
        if found := find_library(name):
            yield found
    try:
        root = Path(os.environ.get("OQS_INSTALL_PATH") or Path.home() / "_oqs")
    except RuntimeError:  # a user without a home
        return
    for directory in ("lib", "lib64"):
        if (path := root / directory / "liboqs.so").is_file():
            yield str(path.absolute())


def _imported() -> Any:
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the versions of both halves differ
            oqs = import_module("oqs")
            for name in ("is_kem_enabled", "is_sig_enabled", "KeyEncapsulation", "Signature"):
                getattr(oqs, name)
            return oqs
    except (Exception, SystemExit) as error:
        why = f"{type(error).__name__}: {error}".rstrip(": ")
        return f"liboqs-python cannot be imported ({why}): pip install --force-reinstall 'liboqs-python>=0.16'"


class _Kem(KemBackend):
    forms = frozenset({Form.SEED, Form.EXPANDED})

    def __init__(self, oqs: Any, parameters: KemParameters) -> None:
        self._oqs = oqs
        self._name = parameters.name

    def generate(self) -> tuple[bytes, bytes]:
        with self._oqs.KeyEncapsulation(self._name) as kem:
            public = kem.generate_keypair()
            return kem.export_secret_key(), public

    def public_of(self, seed: bytes) -> bytes:
        with self._oqs.KeyEncapsulation(self._name) as kem:
            public: bytes = kem.generate_keypair_seed(seed)
            return public

    def encapsulate(self, public: bytes) -> tuple[bytes, bytes]:
        with self._oqs.KeyEncapsulation(self._name) as kem:
            ciphertext, secret = kem.encap_secret(public)
            return ciphertext, secret

    def decapsulate(self, private: bytes, ciphertext: bytes) -> bytes:
        with self._oqs.KeyEncapsulation(self._name, None if len(private) == SEED else private) as kem:
            if len(private) == SEED:
                kem.generate_keypair_seed(private)
            secret: bytes = kem.decap_secret(ciphertext)
            return secret


class _Signatures(SignatureBackend):
    forms = frozenset({Form.EXPANDED})

    def __init__(self, oqs: Any, name: str) -> None:
        self._oqs = oqs
        self._name = name

    def generate(self) -> tuple[bytes, bytes]:
        with self._oqs.Signature(self._name) as signature:
            public = signature.generate_keypair()
            return signature.export_secret_key(), public

    def public_of(self, seed: bytes) -> bytes:
        raise AssertionError("takes no seeds")

    def sign(self, private: bytes, message: bytes) -> bytes:
        with self._oqs.Signature(self._name, private) as signature:
            signed: bytes = signature.sign(message)
            return signed

    def verify(self, public: bytes, message: bytes, signature: bytes) -> None:
        with self._oqs.Signature(self._name) as verifier:
            if not verifier.verify(message, signature, public):
                raise ValueError("the signature does not fit")
