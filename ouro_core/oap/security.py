"""What one side brings to an exchange, and what it takes out of it. Values only: reading files is the IRM's."""

from enum import Enum

from attrs import field, frozen

from ouro_core.contracts.crypto import Credentials

__all__ = ["PLAIN", "Encryption", "KemMode", "OapResult", "PqPolicy", "Security"]


class KemMode(Enum):
    """Who encapsulates, when the key exchange is a KEM (oap.md 4.5). Means nothing for Diffie-Hellman."""

    SERVER = "server"
    CLIENT = "client"


class PqPolicy(Enum):
    """Whether post-quantum algorithms are used: `ouro_core.oap.policy`."""

    OFF = "off"
    PREFER = "prefer"
    REQUIRE = "require"


@frozen
class Encryption:
    """An enc.conf: names of suites, with the defaults of keys not given (oap.md 8.1). Having one means requiring it."""

    kex: str = "prime256v1"
    cipher: str = "aes-256-gcm"
    kdf: str = "sha256"
    digest: str = "sha256"
    kem_mode: KemMode = KemMode.SERVER


@frozen
class Security:
    """What is configured for one name on one side. All absent: a plain, unauthenticated exchange."""

    encryption: Encryption | None = None
    credentials: Credentials | None = None
    """Ours; None: we do not sign."""
    store: tuple[bytes, ...] = ()
    """Certificates (DER) that the peer's chain is checked against, authorities and intermediates alike."""
    require_peer: bool = False
    """Refuse a peer without a certificate."""
    static_key: bytes | None = field(default=None, repr=False)
    """Content of the key file of client encapsulation: the server's kex.key.*, the client's kex.srv.pub.*."""
    pqc: PqPolicy | None = None
    """None: post-quantum algorithms are algorithms like others."""


PLAIN = Security()


@frozen
class OapResult:
    """What an exchange gave this side."""

    id: bytes
    """16 bytes, the same on both sides."""
    data: bytes
    """What the peer's application sent along."""
    peer: str = ""
    """The name in the peer's certificate, verified; "" when it showed none."""
    kex: str = ""
    """Name of the key exchange; "" for a plain flow."""
    cipher_nid: int = 0
    """0 for a plain flow."""
    key: bytes | None = field(default=None, repr=False)
    """The flow's 32-byte key, None for a plain flow."""
