"""ML-KEM (FIPS 203) on raw bytes: what may come is checked here, the work is a library's.

A private key is a seed of 64 bytes, d and z, or expanded: s, public key, its hash, z. Fresh ones have the form that the
library makes; those in files any.

What is not checked, because it cannot be: whether a ciphertext of the right length is the sender's. One that was
changed, or made for another key, gives another secret than the sender's and no error (implicit rejection); FIPS 203
forbids telling. All zeroes are told: nobody makes them, and a library takes them.
"""

from collections.abc import Callable
from hashlib import sha3_256
from typing import TypeVar

from ouro_core.contracts.crypto import Encapsulation
from ouro_core.model.errors import CryptError, NotSupported

from .files import PrivateKey
from .parameters import SEED, KemParameters
from .providers import LIBRARIES, Choice, Form, KemBackend, Library

__all__ = ["MlKem"]

T = TypeVar("T")


class MlKem:
    """One parameter set. Every method raises CryptError for bad input and when no library is there."""

    def __init__(self, parameters: KemParameters, libraries: tuple[Library, ...] = LIBRARIES) -> None:
        self.parameters = parameters
        self.choice: Choice[KemBackend] = Choice(parameters.name, libraries, lambda library: library.kem(parameters))

    def generate(self, form: Form | None = None) -> tuple[bytes, bytes]:
        """A fresh private key, of this form if any, and its public key."""
        backend = self._best(form)
        return self._tried("cannot make a key", backend.generate)

    def encapsulate(self, public: bytes) -> Encapsulation:
        """To a public key."""
        self._check("public key", public, self.parameters.public)
        backend = self._best()
        return Encapsulation(
            *self._tried("no valid public key, numbers out of range", lambda: backend.encapsulate(public))
        )

    def decapsulate(self, private: bytes, ciphertext: bytes) -> bytes:
        """The secret of a ciphertext."""
        self._check("ciphertext", ciphertext, self.parameters.ciphertext)
        backend = self._best(Form.SEED if len(private) == SEED else Form.EXPANDED)
        return self._tried("cannot decapsulate", lambda: backend.decapsulate(private, ciphertext))

    def loaded(self, key: PrivateKey) -> tuple[bytes, bytes]:
        """Private and public key of what is in a file, in the form that the first library takes."""
        public = self._public_of_expanded(key.expanded) if key.expanded else b""
        if not key.seed or (public and not self.choice.takes(Form.SEED)):
            self._best(Form.EXPANDED)
            return key.expanded, public
        backend = self._best(Form.SEED)
        of_seed = self._tried("cannot use the seed", lambda: backend.public_of(key.seed))
        if public and public != of_seed:
            raise CryptError(f"the {self.parameters.name} key is damaged: seed and expanded key are not of one pair")
        return key.seed, of_seed

    def _public_of_expanded(self, private: bytes) -> bytes:
        """The public key in an expanded private key, whose hash is there to be compared."""
        start = self.parameters.public_offset
        end = start + self.parameters.public
        public = private[start:end]
        if sha3_256(public).digest() != private[end : end + 32]:
            raise CryptError(f"the {self.parameters.name} key is damaged: its public key and the hash of it differ")
        return public

    def _check(self, what: str, data: bytes, size: int) -> None:
        if len(data) != size:
            raise CryptError(f"an {self.parameters.name} {what} has {size} bytes, not {len(data)}")
        if not any(data):
            raise CryptError(f"the {self.parameters.name} {what} is all zero; the peer has to make a new one")

    def _best(self, form: Form | None = None) -> KemBackend:
        try:
            return self.choice.best(form)
        except NotSupported as error:
            raise CryptError(str(error)) from None

    def _tried(self, what: str, work: Callable[[], T]) -> T:
        try:
            return work()
        except Exception as error:  # of a library, of whatever class
            why = f"{type(error).__name__}: {error}".rstrip(": ")
            raise CryptError(f"{self.parameters.name}: {what} ({why})") from error
