"""pqcrypto: all algorithms of this plugin. Private keys are expanded; it has no way to make them from seeds.

It holds the interpreter's lock while it works, for seconds when it signs with some parameter sets of SLH-DSA: the IRM
signs in worker processes.
"""

from importlib import import_module
from typing import Any

from ouro_core.model.errors import NotSupported

from ..parameters import KemParameters, SignatureParameters
from .base import Form, KemBackend, Library, SignatureBackend

__all__ = ["Pqcrypto"]


class Pqcrypto(Library):
    """The modules are named after the algorithms: kem.ml_kem_512, sign.slh_dsa_sha2_128s."""

    name = "pqcrypto"

    def kem(self, parameters: KemParameters) -> KemBackend:
        return _Kem(_module("kem", parameters.name, ("keygen", "encaps", "decaps")))

    def signatures(self, parameters: SignatureParameters) -> SignatureBackend:
        return _Signatures(_module("sign", parameters.name, ("keygen", "sign", "verify")))


def _module(kind: str, algorithm: str, functions: tuple[str, ...]) -> Any:
    try:
        package = import_module(f"pqcrypto.{kind}")
    except ImportError as error:
        raise NotSupported(f"cannot be imported ({error}): pip install 'pqcrypto>=1,<2'") from None
    except Exception as error:
        why = f"{type(error).__name__}: {error}".rstrip(": ")
        raise NotSupported(f"broken ({why}): pip install --force-reinstall 'pqcrypto>=1,<2'") from None
    module = getattr(package, algorithm.lower().replace("-", "_"), None)
    if not all(hasattr(module, function) for function in functions):
        raise NotSupported(f"this version has no {algorithm}: pip install 'pqcrypto>=1,<2'")
    return module


class _Kem(KemBackend):
    forms = frozenset({Form.EXPANDED})

    def __init__(self, module: Any) -> None:
        self._module = module

    def generate(self) -> tuple[bytes, bytes]:
        public, private = self._module.keygen()
        return private, public

    def public_of(self, seed: bytes) -> bytes:
        raise AssertionError("takes no seeds")

    def encapsulate(self, public: bytes) -> tuple[bytes, bytes]:
        ciphertext, secret = self._module.encaps(public)
        return ciphertext, secret

    def decapsulate(self, private: bytes, ciphertext: bytes) -> bytes:
        secret: bytes = self._module.decaps(private, ciphertext)
        return secret


class _Signatures(SignatureBackend):
    forms = frozenset({Form.EXPANDED})

    def __init__(self, module: Any) -> None:
        self._module = module

    def generate(self) -> tuple[bytes, bytes]:
        public, private = self._module.keygen()
        return private, public

    def public_of(self, seed: bytes) -> bytes:
        raise AssertionError("takes no seeds")

    def sign(self, private: bytes, message: bytes) -> bytes:
        signature: bytes = self._module.sign(private, message)
        return signature

    def verify(self, public: bytes, message: bytes, signature: bytes) -> None:
        self._module.verify(public, message, signature)
