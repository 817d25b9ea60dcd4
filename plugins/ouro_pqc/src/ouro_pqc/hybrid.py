"""Key exchange by ML-KEM and a curve together (oap.md 4.4): as strong as the stronger of both.

Everything is raw, the ML-KEM part first: public keys, ciphertexts (the curve's part is a fresh public key), shared
secrets, and key files, whose ML-KEM key is expanded. The two secrets are not mixed here: the key derivation takes both.

When one half arrives changed, the secret is another: for the curve's half always, for ML-KEM's by implicit rejection.
"""

from functools import cached_property
from typing import Any

from ouro_core.contracts.crypto import Encapsulation, KemSuite, KexKind, KeyPair
from ouro_core.model.errors import CryptError

from .files import PrivateKey
from .mlkem import MlKem
from .parameters import ML_KEM, KemParameters
from .providers import LIBRARIES, Form, Library

__all__ = ["HYBRIDS", "HybridSuite"]

_KEM = {parameters.name: parameters for parameters in ML_KEM}


class HybridSuite(KemSuite):
    """`curve` is X25519 or X448, whose keys and secrets have `size` bytes. A private key in memory is the ML-KEM key,
    seed or expanded, and the curve's.
    """

    kind = KexKind.HYBRID

    def __init__(
        self, nid: int, rank: int, curve: str, size: int, kem: KemParameters, libraries: tuple[Library, ...] = LIBRARIES
    ) -> None:
        self.name = curve + kem.name.replace("-", "")
        self.nid = nid
        self.rank = rank
        self._kem = MlKem(kem, libraries)
        self._curve = curve
        self._size = size
        self._public = kem.public + size
        self._private = kem.expanded + size
        self._ciphertext = kem.ciphertext + size

    @cached_property
    def unavailable(self) -> str | None:  # type: ignore[override]  # found out when it is needed
        try:
            self._curve_pair()
        except Exception as error:
            return f"no {self._curve}: {type(error).__name__}: {error}; pip install 'cryptography>=50'"
        return self._kem.choice.unavailable

    @property
    def provider(self) -> str:  # type: ignore[override]
        return self._kem.choice.provider

    @property
    def note(self) -> str:  # type: ignore[override]
        return self._kem.choice.note

    def accepts(self, public: bytes) -> bool:
        return len(public) == self._public

    def generate(self) -> KeyPair:
        private, public = self._kem.generate()
        scalar, point = self._curve_pair()
        return KeyPair(private + scalar, public + point)

    def encapsulate(self, public: bytes) -> Encapsulation:
        kem, point = self._halves("public key", public, self._public)
        scalar, ours = self._curve_pair()
        shared = self._agree(scalar, point)
        sent = self._kem.encapsulate(kem)
        return Encapsulation(sent.ciphertext + ours, sent.secret + shared)

    def decapsulate(self, private: bytes, ciphertext: bytes) -> bytes:
        kem, point = self._halves("ciphertext", ciphertext, self._ciphertext)
        shared = self._agree(private[-self._size :], point)
        return self._kem.decapsulate(private[: -self._size], kem) + shared

    def load_private(self, file: bytes) -> KeyPair:
        if len(file) != self._private:
            raise CryptError(f"a raw {self.name} key has {self._private} bytes, not {len(file)}")
        scalar = file[-self._size :]
        private, public = self._kem.loaded(PrivateKey(self.name, expanded=file[: -self._size]))
        return KeyPair(private + scalar, public + self._point_of(scalar))

    def load_public(self, file: bytes) -> bytes:
        if len(file) != self._public:
            raise CryptError(f"a raw {self.name} public key has {self._public} bytes, not {len(file)}")
        return file

    def new_files(self) -> tuple[bytes, bytes]:
        private, public = self._kem.generate(Form.EXPANDED)
        scalar, point = self._curve_pair()
        return private + scalar, public + point

    # ------------------------------------------------------------ the curve

    def _halves(self, what: str, data: bytes, size: int) -> tuple[bytes, bytes]:
        if len(data) != size:
            raise CryptError(f"an {self.name} {what} has {size} bytes, not {len(data)}")
        return data[: -self._size], data[-self._size :]

    def _classes(self) -> tuple[Any, Any]:
        from cryptography.hazmat.primitives.asymmetric import x448, x25519

        if self._curve == "X25519":
            return x25519.X25519PrivateKey, x25519.X25519PublicKey
        return x448.X448PrivateKey, x448.X448PublicKey

    def _curve_pair(self) -> tuple[bytes, bytes]:
        key = self._classes()[0].generate()
        return key.private_bytes_raw(), key.public_key().public_bytes_raw()

    def _point_of(self, scalar: bytes) -> bytes:
        point: bytes = self._classes()[0].from_private_bytes(scalar).public_key().public_bytes_raw()
        return point

    def _agree(self, scalar: bytes, point: bytes) -> bytes:
        private, public = self._classes()
        try:
            secret: bytes = private.from_private_bytes(scalar).exchange(public.from_public_bytes(point))
        except ValueError as error:  # a point of low order, all zero among them: the secret would be zero
            why = str(error) or "all zero, or of low order"
            raise CryptError(
                f"the {self._curve} half of the {self.name} is of no use: {why}; the peer has to make a new one"
            ) from error
        return secret


HYBRIDS: tuple[HybridSuite, ...] = (
    HybridSuite(2053, 12, "X25519", 32, _KEM["ML-KEM-768"]),
    HybridSuite(2054, 13, "X448", 56, _KEM["ML-KEM-1024"]),
)
