"""The policy `pqc` of a name: whether post-quantum algorithms are used, whatever else an enc.conf says.

    | policy  | a client                                                  | a server                               |
    |---------|-----------------------------------------------------------|----------------------------------------|
    | none    | asks for the `kex` of its enc.conf, as the prototype does | takes what its enc.conf finds strong   |
    |         |                                                           | enough                                 |
    | off     | does without them, as a build that has none               | the same                               |
    | prefer  | where `kex` is classical, asks peers that have `HYBRID`   | as without a policy                    |
    |         | for that, others for `kex`                                |                                        |
    | require | the same, but asks others for nothing: CryptError         | refuses a classical key exchange       |

A client finds out by a probe what a peer has, before it asks for the flow (docs/reference/extension.md). Somebody in
the path can take the probe away: `prefer` then gives what there would be without it, and `require` no flow.
"""

from typing import Final

from attrs import evolve

from ..model.capability import Capability
from ..model.errors import CryptError
from .security import KemMode, PqPolicy, Security
from .suites import OapSuites

__all__ = ["HYBRID", "asks_peer", "towards"]

HYBRID: Final = "X25519MLKEM768"
"""What two nodes of ours exchange keys with that prefer post-quantum security: secure while either half is."""


def asks_peer(suites: OapSuites, security: Security) -> bool:
    """Whether what a client asks for depends on what its peer can do. CryptError: its `kex` does not work here."""
    if security.pqc not in (PqPolicy.PREFER, PqPolicy.REQUIRE) or security.encryption is None:
        return False
    return not suites.kexes.named(security.encryption.kex).post_quantum


def towards(suites: OapSuites, security: Security, peer: Capability) -> Security:
    """What a client asks this peer for. CryptError: `require`, and there is no post-quantum key exchange with it; the
    message says which side lacks what.
    """
    if not asks_peer(suites, security):
        return security
    assert security.encryption is not None
    required = security.pqc is PqPolicy.REQUIRE
    try:
        suites.kexes.named(HYBRID)
    except CryptError as e:
        if required:
            raise CryptError(f"pqc = require, and this node cannot: {e}") from None
        return security
    if Capability.PQ in peer:
        encryption = evolve(security.encryption, kex=HYBRID, kem_mode=KemMode.SERVER)
        return evolve(security, encryption=encryption)
    if not required:
        return security
    if peer:
        raise CryptError(
            f"pqc = require, and the peer, an Ouro node, has no {HYBRID}: install ouro-pqc there, or unblock it"
        )
    raise CryptError(
        "pqc = require, and the peer does not answer as an Ouro node: it is one of the prototype, or somebody in the "
        f"path takes the probe away. If it is known to have {HYBRID}, ask for that whatever it answers: kex = {HYBRID}"
    )
