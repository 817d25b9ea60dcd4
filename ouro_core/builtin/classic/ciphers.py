"""The seven packet ciphers of oap.md 3.1: AES-GCM, ChaCha20-Poly1305 and AES-CTR, by `cryptography`.

Measured with packets of 1400 bytes: the one-shot classes with `iv + encrypt(...)` take half the time of
`encrypt_into` a buffer that then has to become bytes; a counter-mode context whose nonce is set anew takes a quarter
of the time of a new one.
"""

from threading import Lock
from typing import Any

from ouro_core.contracts.crypto import KEY_SIZE, Buffer, CipherKey, CipherSuite
from ouro_core.model.errors import CryptError
from ouro_core.wire.oap import CIPHER_NIDS

from .provider import CryptographySuite

__all__ = ["CIPHERS", "AeadSuite", "CtrSuite"]

_GCM_IV, _CTR_IV, _TAG = 12, 16, 16


class _ClassicSuite(CryptographySuite, CipherSuite):
    def __init__(self, name: str, rank: int, key_size: int) -> None:
        self.name = name
        self.nid = CIPHER_NIDS[name]
        self.rank = rank
        self.key_size = key_size

    def _cut(self, key: bytes) -> bytes:
        if len(key) != KEY_SIZE:
            raise CryptError(f"{self.name} got a key of {len(key)} bytes; the key of a flow has {KEY_SIZE}")
        return bytes(key[: self.key_size])

    def _try(self) -> object:
        return self.key(bytes(KEY_SIZE))


class AeadSuite(_ClassicSuite):
    """A cipher that authenticates: 12 bytes of IV, 16 of tag, no associated data. `kind`: its class there."""

    iv_size, tag_size = _GCM_IV, _TAG

    def __init__(self, name: str, rank: int, key_size: int, kind: str) -> None:
        super().__init__(name, rank, key_size)
        self._kind = kind

    def key(self, key: bytes) -> CipherKey:
        from cryptography.hazmat.primitives.ciphers import aead

        return _AeadKey(self.name, getattr(aead, self._kind)(self._cut(key)))


class _AeadKey(CipherKey):
    def __init__(self, name: str, cipher: Any) -> None:
        from cryptography.exceptions import InvalidTag

        self._name = name
        self._encrypt = cipher.encrypt
        self._decrypt = cipher.decrypt
        self._invalid = InvalidTag

    def seal(self, iv: bytes, plain: Buffer) -> bytes:
        sealed: bytes = iv + self._encrypt(iv, plain, None)
        return sealed

    def open(self, packet: Buffer) -> bytes:
        if len(packet) < _GCM_IV + _TAG:
            raise CryptError(f"packet of {len(packet)} bytes; {self._name} adds {_GCM_IV + _TAG} to each")
        try:
            plain: bytes = self._decrypt(packet[:_GCM_IV], packet[_GCM_IV:], None)
        except self._invalid:
            raise CryptError(
                f"packet of {len(packet)} bytes is not from the peer, or damaged: its {self._name} tag does not fit"
            ) from None
        return plain


class CtrSuite(_ClassicSuite):
    """AES in counter mode: 16 bytes of IV, the first counter block. Nothing is authenticated."""

    iv_size, tag_size = _CTR_IV, 0

    def key(self, key: bytes) -> CipherKey:
        return _CtrKey(self.name, self._cut(key))


class _CtrKey(CipherKey):
    def __init__(self, name: str, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        self._name = name
        self._context = Cipher(algorithms.AES(key), modes.CTR(bytes(_CTR_IV))).encryptor()
        self._lock = Lock()  # setting the nonce and using it are two calls

    def seal(self, iv: bytes, plain: Buffer) -> bytes:
        return iv + self._apply(iv, plain)

    def open(self, packet: Buffer) -> bytes:
        if len(packet) < _CTR_IV:
            raise CryptError(f"packet of {len(packet)} bytes; {self._name} adds {_CTR_IV} to each")
        return self._apply(bytes(packet[:_CTR_IV]), packet[_CTR_IV:])

    def _apply(self, iv: bytes, text: Buffer) -> bytes:
        with self._lock:
            self._context.reset_nonce(iv)
            return self._context.update(text)


CIPHERS: tuple[CipherSuite, ...] = (
    CtrSuite("aes-128-ctr", 1, 16),
    CtrSuite("aes-192-ctr", 2, 24),
    CtrSuite("aes-256-ctr", 3, 32),
    AeadSuite("aes-128-gcm", 4, 16, "AESGCM"),
    AeadSuite("aes-192-gcm", 5, 24, "AESGCM"),
    AeadSuite("aes-256-gcm", 6, 32, "AESGCM"),
    AeadSuite("chacha20-poly1305", 7, 32, "ChaCha20Poly1305"),
)
