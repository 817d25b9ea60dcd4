"""The policy `pqc`: what is asked for, what is taken, and what the refusal says."""

import datetime
import pickle

import pytest
from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ouro_core.builtin.classic.curves import CURVES
from ouro_core.builtin.classic.digests import DIGESTS
from ouro_core.contracts.crypto import Authenticator, Credentials, Digest
from ouro_core.model.capability import Capability
from ouro_core.model.errors import AuthenticationFailed, CryptError
from ouro_core.oap import (
    HYBRID,
    PLAIN,
    Answer,
    Encryption,
    KemMode,
    OapClient,
    OapResult,
    OapServer,
    OapSuites,
    PqPolicy,
    ReplayGuard,
    Security,
    asks_peer,
    towards,
)

NOW = 1_795_332_800_000_000_000
C = Capability(0)
OLD = Capability.FRAGMENTS
OURO = Capability.FRAGMENTS | Capability.PQ
POLICIES = (None, *PqPolicy)


def with_(pqc: PqPolicy | None, kex: str = "X25519", mode: KemMode = KemMode.SERVER) -> Security:
    return Security(Encryption(kex=kex, kem_mode=mode), pqc=pqc)


def exchange(suites: OapSuites, client: Security, server: Security, peer: Capability = OURO) -> OapResult:
    "What the client gets; the server gets the same."
    oap = OapClient(suites)
    context = oap.prepare("a", b"", NOW, towards(suites, client, peer))
    response, accepted = OapServer(suites, ReplayGuard()).process(context.request, b"", NOW, server)
    allocated = oap.complete(context, response, NOW)
    assert (allocated.key, allocated.kex) == (accepted.key, accepted.kex)
    return allocated


# ---------------------------------------------------------------- what a client asks for


@pytest.mark.parametrize("peer", [C, OLD, OURO])
@pytest.mark.parametrize("pqc", [None, PqPolicy.OFF])
def test_without_a_policy_and_with_off_no_peer_changes_anything(
    suites: OapSuites, pqc: PqPolicy | None, peer: Capability
) -> None:
    security = with_(pqc)
    assert not asks_peer(suites, security)
    assert towards(suites, security, peer) is security


@pytest.mark.parametrize("pqc", [PqPolicy.PREFER, PqPolicy.REQUIRE])
def test_ouro_nodes_are_asked_for_the_hybrid(suites: OapSuites, pqc: PqPolicy) -> None:
    security = with_(pqc, mode=KemMode.CLIENT)
    assert asks_peer(suites, security)
    asked = towards(suites, security, OURO)
    assert asked == evolve(security, encryption=Encryption(kex=HYBRID))


@pytest.mark.parametrize("peer", [C, OLD])
def test_prefer_leaves_others_what_enc_conf_says(suites: OapSuites, peer: Capability) -> None:
    security = with_(PqPolicy.PREFER)
    assert towards(suites, security, peer) is security


def test_require_refuses_others_and_says_what_they_lack(suites: OapSuites) -> None:
    with pytest.raises(CryptError, match=r"pqc = require, .*does not answer as an Ouro node.*kex = X25519MLKEM768$"):
        towards(suites, with_(PqPolicy.REQUIRE), C)
    with pytest.raises(
        CryptError, match=r"pqc = require, .*an Ouro node, has no X25519MLKEM768: install ouro-pqc there"
    ):
        towards(suites, with_(PqPolicy.REQUIRE), OLD)


@pytest.mark.parametrize("peer", [C, OLD, OURO])
@pytest.mark.parametrize("pqc", [PqPolicy.PREFER, PqPolicy.REQUIRE])
def test_a_post_quantum_kex_in_enc_conf_is_asked_of_everybody(
    suites: OapSuites, pqc: PqPolicy, peer: Capability
) -> None:
    security = with_(pqc, HYBRID, KemMode.CLIENT)
    assert not asks_peer(suites, security)
    assert towards(suites, security, peer) is security


def test_plain_flows_have_no_policy(suites: OapSuites) -> None:
    security = evolve(PLAIN, pqc=PqPolicy.PREFER)
    assert not asks_peer(suites, security)
    assert towards(suites, security, OURO) is security


def test_a_node_without_post_quantum_suites_prefers_in_vain_and_cannot_require() -> None:
    classical = OapSuites.of(digests=DIGESTS, kexes=CURVES, brought_by={"kex_suites": {HYBRID: "ouro-pqc"}})
    security = with_(PqPolicy.PREFER)
    assert towards(classical, security, OURO) is security
    with pytest.raises(CryptError, match=r"pqc = require, and this node cannot: .*the distribution ouro-pqc"):
        towards(classical, with_(PqPolicy.REQUIRE), OURO)


# ---------------------------------------------------------------- both sides


@pytest.mark.parametrize("server", [None, PqPolicy.PREFER, PqPolicy.REQUIRE])
@pytest.mark.parametrize("client", [PqPolicy.PREFER, PqPolicy.REQUIRE])
def test_between_two_ouro_nodes_the_flow_is_hybrid(
    suites: OapSuites, client: PqPolicy, server: PqPolicy | None
) -> None:
    assert exchange(suites, with_(client), with_(server)).kex == HYBRID
    assert exchange(suites, with_(client), evolve(PLAIN, pqc=server)).kex == HYBRID


@pytest.mark.parametrize("server", [None, PqPolicy.OFF, PqPolicy.PREFER])
@pytest.mark.parametrize("client", [None, PqPolicy.OFF, PqPolicy.PREFER])
def test_towards_the_prototype_a_flow_is_what_enc_conf_says(
    suites: OapSuites, client: PqPolicy | None, server: PqPolicy | None
) -> None:
    assert exchange(suites, with_(client), with_(server), C).kex == "X25519"


@pytest.mark.parametrize("client", [None, PqPolicy.OFF, PqPolicy.PREFER])
def test_a_server_that_requires_refuses_classical_exchanges(suites: OapSuites, client: PqPolicy | None) -> None:
    with pytest.raises(
        CryptError, match=r"^pqc = require, and the client's key exchange X25519 is classical: it has no "
    ):
        exchange(suites, with_(client), with_(PqPolicy.REQUIRE), C)


def test_a_server_that_requires_refuses_plain_flows(suites: OapSuites) -> None:
    with pytest.raises(CryptError, match="asks for a plain flow, and encryption is required"):
        exchange(suites, PLAIN, with_(PqPolicy.REQUIRE))


def test_a_server_that_is_off_refuses_post_quantum_exchanges(suites: OapSuites) -> None:
    for client in (with_(PqPolicy.PREFER), with_(None, HYBRID)):
        with pytest.raises(
            CryptError, match=r"^the client's key exchange X25519MLKEM768 is post-quantum, and pqc = off"
        ):
            exchange(suites, client, with_(PqPolicy.OFF))


def test_off_bars_what_enc_conf_asks_for(suites: OapSuites) -> None:
    with pytest.raises(CryptError, match="X25519MLKEM768 must not be used: it is post-quantum, and pqc = off"):
        exchange(suites, with_(PqPolicy.OFF, HYBRID), PLAIN)


def test_require_never_asks_for_a_classical_exchange(suites: OapSuites) -> None:
    "Also where nobody asked what the peer can do."
    with pytest.raises(CryptError, match="pqc = require, and X25519 is classical"):
        OapClient(suites).prepare("a", b"", NOW, with_(PqPolicy.REQUIRE))


def test_policies_go_to_workers_as_they_are(suites: OapSuites) -> None:
    context = OapClient(suites).prepare("a", b"", NOW, with_(None, HYBRID))
    admitted = OapServer(suites, ReplayGuard()).admit(context.request, NOW)
    for pqc in POLICIES:
        job = pickle.loads(pickle.dumps(Answer(admitted, b"", NOW, with_(pqc))))
        if pqc is PqPolicy.OFF:
            with pytest.raises(CryptError, match="pqc = off"):
                job.run(suites)
        else:
            assert job.run(suites)[1].kex == HYBRID


# ---------------------------------------------------------------- certificates


class Toy(Authenticator):
    "Takes ML-DSA certificates, and believes everything."

    name, nid, rank, post_quantum = "ML-DSA", 1458, 9, True

    def accepts(self, certificate: bytes) -> bool:
        return certificate == CERTIFICATE

    def load(self, certificate_pem: bytes, key_pem: bytes) -> Credentials | None:
        return Credentials(CERTIFICATE, b"")

    def sign(self, credentials: Credentials, message: bytes, digest: Digest | None) -> bytes:
        return b"signed"

    def verify(self, certificate: bytes, message: bytes, signature: bytes, digest: Digest | None) -> None:
        assert signature == b"signed"

    def verify_chain(self, certificate: bytes, store: tuple[bytes, ...], now: int) -> None: ...
    def name_of(self, certificate: bytes) -> str:
        return "a"


def _certificate() -> bytes:
    key = mldsa.MLDSA44PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    return builder.sign(key, None).public_bytes(Encoding.DER)


CERTIFICATE = _certificate()


def test_off_bars_post_quantum_certificates_on_both_sides(suites: OapSuites) -> None:
    with_toy = evolve(suites, authenticators=type(suites.authenticators)("authenticator", [Toy()]))
    shows = evolve(with_(None), credentials=Credentials(CERTIFICATE, b""))
    assert exchange(with_toy, with_(None), shows).peer == "a"
    with pytest.raises(CryptError, match=r"the certificate has a post-quantum key \(ML-DSA\), and pqc = off"):
        exchange(with_toy, with_(PqPolicy.OFF), shows)
    with pytest.raises(AuthenticationFailed, match=r"the certificate has a post-quantum key \(ML-DSA\), and pqc = off"):
        exchange(with_toy, shows, with_(PqPolicy.OFF))
    with pytest.raises(AuthenticationFailed, match="pqc = off"):
        exchange(with_toy, evolve(shows, pqc=PqPolicy.OFF), with_(None))


def test_barred_suites_keep_their_numbers(suites: OapSuites) -> None:
    classical = suites.classical
    assert classical.kexes.nids == suites.kexes.nids
    assert HYBRID in {kex.name for kex in suites.kexes.available()} - {kex.name for kex in classical.kexes.available()}
    assert {kex.name for kex in classical.kexes.barred()} == {HYBRID}
    assert not list(suites.kexes.barred())
    assert suites.classical is classical
