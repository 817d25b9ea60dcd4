"""ML-DSA (FIPS 204) and SLH-DSA (FIPS 205) on raw bytes: pure, with empty context (oap.md 7.4)."""

from attrs import field, frozen

from ouro_core.model.errors import AuthenticationFailed, NotSupported, WireError

from .files import private_der, private_key
from .parameters import SignatureParameters
from .providers import LIBRARIES, Choice, Form, Library, SignatureBackend

__all__ = ["SignatureAlgorithm"]


@frozen
class _Key:
    """A private key in the form that a library takes."""

    backend: SignatureBackend
    private: bytes = field(repr=False)


class SignatureAlgorithm:
    """One parameter set. Private keys are PKCS#8 in DER. Every method raises AuthenticationFailed."""

    def __init__(self, parameters: SignatureParameters, libraries: tuple[Library, ...] = LIBRARIES) -> None:
        self.parameters = parameters
        self.choice: Choice[SignatureBackend] = Choice(
            parameters.name, libraries, lambda library: library.signatures(parameters)
        )

    def generate(self) -> tuple[bytes, bytes]:
        """A fresh private key, in PKCS#8, and the raw public key."""
        backend = self._best()
        try:
            private, public = backend.generate()
        except Exception as error:
            raise self._failed("cannot make a key", error) from error
        seed, expanded = (private, b"") if len(private) == self.parameters.seed else (b"", private)
        return private_der(self.parameters.oid, seed, expanded, bare=not self.parameters.seed), public

    def check(self, key: bytes) -> None:
        """Is this a key of this algorithm, and can it be used?"""
        self._loaded(key)

    def sign(self, key: bytes, message: bytes) -> bytes:
        """The signature."""
        loaded = self._loaded(key)
        try:
            return loaded.backend.sign(loaded.private, message)
        except Exception as error:
            raise self._failed("cannot sign", error) from error

    def verify(self, public: bytes, message: bytes, signature: bytes) -> None:
        """Check a signature by a raw public key."""
        name, sizes = self.parameters.name, (self.parameters.public, self.parameters.signature)
        if (len(public), len(signature)) != sizes:
            raise AuthenticationFailed(
                f"the {name} key has {len(public)} bytes and the signature {len(signature)}; "
                f"they have {sizes[0]} and {sizes[1]}"
            )
        backend = self._best()
        try:
            backend.verify(public, message, signature)
        except Exception as error:
            raise AuthenticationFailed(
                f"the {name} signature does not fit: another key than the certificate's, or changed on its way"
            ) from error

    def _loaded(self, key: bytes) -> _Key:
        wanted = self.parameters
        try:
            found = private_key(key, [(wanted.name, wanted.oid, wanted.seed, wanted.private)])
        except WireError as error:
            raise AuthenticationFailed(f"no {wanted.name} key: {error}") from None
        if found.seed and (self.choice.takes(Form.SEED) or not found.expanded):
            return _Key(self._best(Form.SEED), found.seed)
        return _Key(self._best(Form.EXPANDED), found.expanded)

    def _best(self, form: Form | None = None) -> SignatureBackend:
        try:
            return self.choice.best(form)
        except NotSupported as error:
            raise AuthenticationFailed(str(error)) from None

    def _failed(self, what: str, error: Exception) -> AuthenticationFailed:
        why = f"{type(error).__name__}: {error}".rstrip(": ")
        return AuthenticationFailed(f"{what} with {self.parameters.name}: {why}")
