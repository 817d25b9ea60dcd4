"""An OAP header in the form of the log at level PP (oap.md 10)."""

from collections.abc import Mapping
from datetime import UTC, datetime

from ouro_core.model.errors import OuroError
from ouro_core.wire.oap import CIPHER_NIDS, DIGEST_NIDS, OapHeader

from .suites import OapSuites

__all__ = ["header_lines", "message_lines"]

_CIPHERS = {nid: name for name, nid in CIPHER_NIDS.items()}
_DIGESTS = {nid: name for name, nid in DIGEST_NIDS.items()}


def header_lines(header: OapHeader, sent: bool) -> list[str]:
    """The nine lines, without the log's own prefix: a title with an arrow, then one line a field, indented by two."""
    time = datetime.fromtimestamp(header.timestamp // 1_000_000_000, UTC)
    role = ""
    if header.kex and header.client_encaps:
        role = " [Client encaps]"
    elif header.kex and header.raw:
        role = " [Server encaps]"
    fields = {
        "crt": _size(header.certificate),
        "Key Exchange Data": _size(header.kex) + role,
        "Cipher": _name(_CIPHERS, header.cipher_nid),
        "KDF": _name(_DIGESTS, header.kdf_nid, "HKDF-"),
        "Digest": _name(_DIGESTS, header.md_nid),
        "Data": _size(header.data),
        "Req Hash": _size(header.req_hash),
        "Signature": _size(header.signature),
    }
    title = f"OAP_HDR [{header.id[:8].hex()} @ {time:%Y-%m-%d %H:%M:%S} (UTC) ] {'-->' if sent else '<--'}"
    return [title, *(f"  {label}: {value}" for label, value in fields.items())]


def message_lines(suites: OapSuites, message: bytes, sent: bool, asked_md: int | None = None) -> list[str]:
    """`header_lines` of an encoded message, or one line that says why it cannot be read. `asked_md`: it is the response
    to a request with this md_nid; None: it is a request.
    """
    try:
        header = OapHeader.decode(
            message,
            hash_size=0 if asked_md is None else suites.request_hash(asked_md).size,
            ciphers=suites.known_ciphers,
            digests=suites.known_digests,
        )
    except OuroError as error:
        return [f"OAP_HDR of {len(message)} bytes: {error}"]
    return header_lines(header, sent)


def _size(blob: bytes) -> str:
    return f"[{len(blob)} bytes]" if blob else "<none>"


def _name(names: Mapping[int, str], nid: int, prefix: str = "") -> str:
    return prefix + names.get(nid, f"NID {nid}") if nid else "<none>"
