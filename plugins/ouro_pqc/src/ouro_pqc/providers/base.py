"""What a library is to this plugin: algorithms on raw bytes, whose lengths the callers have checked."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from enum import Enum
from threading import Lock
from typing import Generic, TypeVar

from ouro_core.model.errors import NotSupported

from ..parameters import KemParameters, SignatureParameters

__all__ = ["Backend", "Choice", "Form", "KemBackend", "Library", "SignatureBackend"]


class Form(Enum):
    """Forms of private keys."""

    SEED = "seed"
    """What the key pair is made from: 64 bytes for ML-KEM, 32 for ML-DSA."""
    EXPANDED = "expanded"
    """What FIPS 203, 204 and 205 call the secret key."""


class Backend(ABC):
    """One algorithm by one library. Failures of the library are its own exceptions, of any class."""

    forms: frozenset[Form]
    """The private keys that it takes."""

    @abstractmethod
    def generate(self) -> tuple[bytes, bytes]:
        """A fresh pair: private key, expanded if it takes such keys, and public key."""

    @abstractmethod
    def public_of(self, seed: bytes) -> bytes:
        """The public key of a seed, for those that take seeds."""


class KemBackend(Backend):
    """A parameter set of ML-KEM."""

    @abstractmethod
    def encapsulate(self, public: bytes) -> tuple[bytes, bytes]:
        """Ciphertext and shared secret. Any exception: no valid key."""

    @abstractmethod
    def decapsulate(self, private: bytes, ciphertext: bytes) -> bytes:
        """The shared secret."""


class SignatureBackend(Backend):
    """A parameter set of ML-DSA or SLH-DSA."""

    @abstractmethod
    def sign(self, private: bytes, message: bytes) -> bytes:
        """The signature."""

    @abstractmethod
    def verify(self, public: bytes, message: bytes, signature: bytes) -> None:
        """Any exception: it does not fit."""


class Library(ABC):
    """A library that may or may not be there."""

    name: str

    @abstractmethod
    def kem(self, parameters: KemParameters) -> KemBackend:
        """NotSupported: it is not installed, does not work, or lacks the algorithm; one line, without its name."""

    @abstractmethod
    def signatures(self, parameters: SignatureParameters) -> SignatureBackend:
        """The same for signatures."""


B = TypeVar("B", bound=Backend)


class Choice(Generic[B]):
    """The libraries for one algorithm. `opener` asks one of them; it is asked once, when its turn comes."""

    def __init__(self, algorithm: str, libraries: tuple[Library, ...], opener: Callable[[Library], B]) -> None:
        self.algorithm = algorithm
        self._libraries = libraries
        self._opener = opener
        self._asked: dict[str, B | NotSupported] = {}
        self._lock = Lock()

    def survey(self) -> Iterator[tuple[str, B | NotSupported]]:
        """Library by library: what it has, or why it has not."""
        for library in self._libraries:
            yield library.name, self._ask(library)

    def best(self, form: Form | None = None) -> B:
        """Of the first library that takes private keys of this form, of any form when None. NotSupported: there is
        none; the reason of each.
        """
        reasons = []
        for name, found in self.survey():
            if isinstance(found, NotSupported):
                reasons.append(f"{name}: {found}")
            elif form is None or form in found.forms:
                return found
            else:
                reasons.append(f"{name}: takes no key in {form.value} form")
        what = self.algorithm if form is None else f"{self.algorithm} with a key in {form.value} form"
        raise NotSupported(f"no library here has {what} ({'; '.join(reasons)})")

    def takes(self, form: Form) -> bool:
        """Whether some library does."""
        try:
            self.best(form)
        except NotSupported:
            return False
        return True

    @property
    def unavailable(self) -> str | None:
        """Why there is none; None when there is one."""
        try:
            self.best()
        except NotSupported as error:
            return str(error)
        return None

    @property
    def provider(self) -> str:
        """Name of the first one that has it, "" when none has."""
        return next((name for name, found in self.survey() if not isinstance(found, NotSupported)), "")

    @property
    def note(self) -> str:
        """What the others are for, or why they are not used."""
        remarks: list[str] = []
        covered: set[Form] = set()
        for name, found in self.survey():
            if isinstance(found, NotSupported):
                remarks.append(f"{name}: {found}")
                continue
            if covered and (more := found.forms - covered):
                remarks.append(f"{name}: for keys in {', '.join(sorted(form.value for form in more))} form")
            elif covered:
                remarks.append(f"{name}: works, not needed")
            covered |= found.forms
        return "; ".join(remarks)

    def _ask(self, library: Library) -> B | NotSupported:
        with self._lock:
            if library.name not in self._asked:
                try:
                    self._asked[library.name] = self._opener(library)
                except NotSupported as error:
                    self._asked[library.name] = error
                except Exception as error:  # a library that is there, and broken
                    why = f"{type(error).__name__}: {error}".rstrip(": ")
                    self._asked[library.name] = NotSupported(f"does not work: {' '.join(why.split())}")
            return self._asked[library.name]
