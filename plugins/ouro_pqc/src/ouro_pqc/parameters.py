"""The algorithms: what they are called, and how long their keys, ciphertexts and signatures are, in bytes."""

from attrs import frozen

__all__ = ["ML_DSA", "ML_KEM", "SEED", "SLH_DSA", "KemParameters", "SignatureParameters"]

SEED = 64
"""An ML-KEM key pair in its shortest form, d and z of FIPS 203."""

_NIST = "2.16.840.1.101.3.4"


@frozen
class KemParameters:
    """A parameter set of ML-KEM (FIPS 203; oap.md 3.3)."""

    name: str
    oid: str
    nid: int
    rank: int
    public: int
    expanded: int
    """The secret key of FIPS 203: s, public key, its hash, z."""
    ciphertext: int

    @property
    def public_offset(self) -> int:
        """Where the public key begins in an expanded secret key."""
        return self.public - 32


@frozen
class SignatureParameters:
    """A parameter set of ML-DSA (FIPS 204) or SLH-DSA (FIPS 205), pure, with empty context."""

    name: str
    oid: str
    public: int
    private: int
    """ML-DSA: the expanded key; SLH-DSA: the only form."""
    signature: int
    seed: int = 0
    """ML-DSA: the shortest form of the private key. 0: there is none."""


ML_KEM = (
    KemParameters("ML-KEM-512", f"{_NIST}.4.1", 1454, 9, 800, 1632, 768),
    KemParameters("ML-KEM-768", f"{_NIST}.4.2", 1455, 10, 1184, 2400, 1088),
    KemParameters("ML-KEM-1024", f"{_NIST}.4.3", 1456, 11, 1568, 3168, 1568),
)

ML_DSA = (
    SignatureParameters("ML-DSA-44", f"{_NIST}.3.17", 1312, 2560, 2420, 32),
    SignatureParameters("ML-DSA-65", f"{_NIST}.3.18", 1952, 4032, 3309, 32),
    SignatureParameters("ML-DSA-87", f"{_NIST}.3.19", 2592, 4896, 4627, 32),
)

_SIGNATURES = {"128s": 7856, "128f": 17088, "192s": 16224, "192f": 35664, "256s": 29792, "256f": 49856}
SLH_DSA = tuple(
    SignatureParameters(f"SLH-DSA-{family}-{variant}", f"{_NIST}.3.{number}", 2 * n, 4 * n, _SIGNATURES[variant])
    for number, (family, variant, n) in enumerate(
        ((family, variant, int(variant[:3]) // 8) for family in ("SHA2", "SHAKE") for variant in _SIGNATURES), 20
    )
)
