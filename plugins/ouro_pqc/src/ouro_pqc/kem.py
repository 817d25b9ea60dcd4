"""Key exchange by ML-KEM alone (oap.md 4.3): public keys in DER, ciphertexts raw, key files in PEM."""

from ouro_core.contracts.crypto import Encapsulation, KemSuite, KeyPair
from ouro_core.model.errors import CryptError, WireError
from ouro_core.wire.der import pem

from .files import pem_block, private_der, private_key, public_der
from .mlkem import MlKem
from .parameters import ML_KEM, SEED, KemParameters
from .providers import LIBRARIES, Library

__all__ = ["KEMS", "MlKemSuite"]


class MlKemSuite(KemSuite):
    """ML-KEM of one parameter set. A private key in memory is raw: a seed, or expanded."""

    def __init__(self, parameters: KemParameters, libraries: tuple[Library, ...] = LIBRARIES) -> None:
        self.name = parameters.name
        self.nid = parameters.nid
        self.rank = parameters.rank
        self._parameters = parameters
        self._kem = MlKem(parameters, libraries)
        self._prefix = public_der(parameters.oid, bytes(parameters.public))[: -parameters.public]

    @property
    def unavailable(self) -> str | None:  # type: ignore[override]  # found out when it is needed
        return self._kem.choice.unavailable

    @property
    def provider(self) -> str:  # type: ignore[override]
        return self._kem.choice.provider

    @property
    def note(self) -> str:  # type: ignore[override]
        return self._kem.choice.note

    def accepts(self, public: bytes) -> bool:
        return public.startswith(self._prefix)

    def generate(self) -> KeyPair:
        private, public = self._kem.generate()
        return KeyPair(private, self._prefix + public)

    def encapsulate(self, public: bytes) -> Encapsulation:
        if not self.accepts(public):
            raise CryptError(f"these {len(public)} bytes are no {self.name} public key in DER")
        return self._kem.encapsulate(public[len(self._prefix) :])

    def decapsulate(self, private: bytes, ciphertext: bytes) -> bytes:
        return self._kem.decapsulate(private, ciphertext)

    def load_private(self, file: bytes) -> KeyPair:
        algorithm = (self.name, self._parameters.oid, SEED, self._parameters.expanded)
        try:
            key = private_key(pem_block(file, "PRIVATE KEY"), [algorithm])
        except WireError as error:
            raise CryptError(f"no {self.name} key: {error}") from None
        private, public = self._kem.loaded(key)
        return KeyPair(private, self._prefix + public)

    def load_public(self, file: bytes) -> bytes:
        try:
            public = pem_block(file, "PUBLIC KEY")
        except WireError as error:
            raise CryptError(f"no {self.name} public key: {error}") from None
        if not self.accepts(public) or len(public) != len(self._prefix) + self._parameters.public:
            raise CryptError(f"the public key of {len(public)} bytes is none of {self.name}")
        return public

    def new_files(self) -> tuple[bytes, bytes]:
        private, public = self._kem.generate()
        seed, expanded = (private, b"") if len(private) == SEED else (b"", private)
        der = private_der(self._parameters.oid, seed, expanded)
        return pem("PRIVATE KEY", der), pem("PUBLIC KEY", self._prefix + public)


KEMS: tuple[MlKemSuite, ...] = tuple(MlKemSuite(parameters) for parameters in ML_KEM)
