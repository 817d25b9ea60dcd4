"""cryptography: ML-KEM-768 and -1024, ML-DSA. Private keys are seeds; it cannot read expanded ones."""

from typing import Any

from ouro_core.model.errors import NotSupported

from ..parameters import KemParameters, SignatureParameters
from .base import Form, KemBackend, Library, SignatureBackend

__all__ = ["Cryptography"]


class Cryptography(Library):
    """The module names its classes after the algorithms: MLKEM768PrivateKey."""

    name = "cryptography"

    def kem(self, parameters: KemParameters) -> KemBackend:
        return _Kem(*_classes("mlkem", parameters.name))

    def signatures(self, parameters: SignatureParameters) -> SignatureBackend:
        if not parameters.seed:
            raise NotSupported(f"has no {parameters.name}")
        return _Signatures(*_classes("mldsa", parameters.name))


def _classes(module: str, algorithm: str) -> tuple[Any, Any]:
    """Those of the private and the public key, tried."""
    try:
        from cryptography.hazmat.primitives import asymmetric  # noqa: F401  # is it there at all?
    except ImportError as error:
        raise NotSupported(f"not installed ({error}): pip install 'cryptography>=50'") from None
    try:
        found = __import__(f"cryptography.hazmat.primitives.asymmetric.{module}", fromlist=[module])
    except ImportError:
        raise NotSupported("too old: pip install 'cryptography>=50'") from None
    kind = algorithm.replace("-", "")
    classes = getattr(found, f"{kind}PrivateKey", None), getattr(found, f"{kind}PublicKey", None)
    if None in classes:
        raise NotSupported(f"has no {algorithm}")
    try:
        classes[0].generate()  # type: ignore[union-attr]  # a build against another library than OpenSSL may refuse
    except Exception as error:
        raise NotSupported(f"this build has no {algorithm} ({type(error).__name__})") from None
    return classes


class _Kem(KemBackend):
    forms = frozenset({Form.SEED})

    def __init__(self, private: Any, public: Any) -> None:
        self._private = private
        self._public = public

    def generate(self) -> tuple[bytes, bytes]:
        key = self._private.generate()
        return key.private_bytes_raw(), key.public_key().public_bytes_raw()

    def public_of(self, seed: bytes) -> bytes:
        public: bytes = self._private.from_seed_bytes(seed).public_key().public_bytes_raw()
        return public

    def encapsulate(self, public: bytes) -> tuple[bytes, bytes]:
        secret, ciphertext = self._public.from_public_bytes(public).encapsulate()
        return ciphertext, secret

    def decapsulate(self, private: bytes, ciphertext: bytes) -> bytes:
        secret: bytes = self._private.from_seed_bytes(private).decapsulate(ciphertext)
        return secret


class _Signatures(SignatureBackend):
    forms = frozenset({Form.SEED})

    def __init__(self, private: Any, public: Any) -> None:
        self._private = private
        self._public = public

    def generate(self) -> tuple[bytes, bytes]:
        key = self._private.generate()
        return key.private_bytes_raw(), key.public_key().public_bytes_raw()

    def public_of(self, seed: bytes) -> bytes:
        public: bytes = self._private.from_seed_bytes(seed).public_key().public_bytes_raw()
        return public

    def sign(self, private: bytes, message: bytes) -> bytes:
        signature: bytes = self._private.from_seed_bytes(private).sign(message)
        return signature

    def verify(self, public: bytes, message: bytes, signature: bytes) -> None:
        self._public.from_public_bytes(public).verify(signature, message)
