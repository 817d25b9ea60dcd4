"""Allocations with security files: what both applications get, whoever is at fault, and what the log says."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ouro_core.cli.certificates import Pair, issue, make_authority
from ouro_core.irm.security import Side
from ouro_core.model.errors import (
    AuthenticationFailed,
    CryptError,
    NotPermitted,
)
from ouro_core.model.irm_requests import (
    CreateName,
)
from ouro_core.model.names import NameInfo
from ouro_core.oap import Encryption, Security
from ouro_core.rpc.fds import close_grants
from tests.unit.irm.network import CHACHA, WAIT, Maker, Network, expired, issued

# ---------------------------------------------------------------- who configured what


async def test_nothing_configured(network: Network) -> None:
    await network.plain()
    assert network.lines() == []


async def test_both_require_encryption(network: Network) -> None:
    network.write("server/srv/enc.conf", "")
    network.write("client/srv/enc.conf", "")
    await network.encrypted()


async def test_the_client_alone_requires_it(network: Network) -> None:
    network.write("client/srv/enc.conf", "kex=X25519\ncipher=chacha20-poly1305")
    await network.encrypted(CHACHA)


async def test_the_server_requires_it_and_the_client_is_plain(network: Network) -> None:
    network.write("server/srv/enc.conf", "")
    ours, theirs = await network.flow()
    assert (type(ours), type(theirs)) == (CryptError, CryptError)
    assert (ours.code, theirs.code) == (-1008, -1008)
    refusals = [line for line in network.lines() if line.startswith("Refused")]
    assert refusals == [
        "Refused a flow request for srv: the client asks for a plain flow, and encryption is required here"
    ]
    network.write("server/srv/enc.conf", "none")
    await network.plain()


async def test_the_stronger_cipher_is_taken_and_a_weaker_key_exchange_refused(network: Network) -> None:
    network.write("server/srv/enc.conf", "kex=prime256v1\ncipher=chacha20-poly1305")
    network.write("client/srv/enc.conf", "kex=secp521r1\ncipher=aes-128-gcm")
    await network.encrypted(CHACHA)
    network.write("server/srv/enc.conf", "kex=X448")
    network.write("client/srv/enc.conf", "kex=X25519")
    ours, theirs = await network.flow()
    assert (ours.code, theirs.code) == (-1008, -1008)
    assert "weaker than the X448" in str(theirs)


# ---------------------------------------------------------------- who is who


async def test_mutual_authentication(network: Network) -> None:
    network.write("server/srv/enc.conf", "auth=required")
    network.write("client/srv/enc.conf", "auth=required")
    network.credentials("server", "srv")
    network.credentials("client", "alice", "rsa2048")
    await network.encrypted()


async def test_authentication_without_encryption(network: Network) -> None:
    network.credentials("server", "srv", "ed25519")
    network.write("client/srv/enc.conf", "auth=required\nnone")
    await network.plain()


async def test_a_server_may_require_a_certificate(network: Network) -> None:
    network.write("server/srv/enc.conf", "auth=required\nnone")
    ours, theirs = await network.flow()
    assert (ours.code, theirs.code) == (-1009, -1009)
    assert "shows no certificate, and one is required" in str(theirs)
    network.credentials("client", "alice")
    await network.plain()


async def test_a_client_may_require_one(network: Network) -> None:
    network.write("client/srv/enc.conf", "auth=required\nnone")
    ours, _ = await network.flow()
    assert ours.code == -1008
    assert "shows no certificate, and one is required" in str(ours)
    network.credentials("server", "srv")
    await network.plain()


async def test_a_client_refuses_certificates_that_are_not_right(network: Network) -> None:
    foreign = make_authority("Foreign CA", "p256", 10)
    for pair, why in (
        (issue(network.authority, "other", "p256", 10), 'for "other", not for "srv"'),
        (issue(foreign, "srv", "p256", 10), "Foreign CA"),
        (expired(network.authority, "srv"), "expired"),
        (Pair(issue(network.authority, "srv", "p256", 10).certificate, foreign.key_pem), "does not fit"),
    ):
        network.show("server", pair)
        ours, _ = await network.flow()
        assert isinstance(ours, CryptError)
        assert why in str(ours)
        assert [line for line in network.lines() if why in line] == [f"Refused an answer from srv: {ours}"]
    network.credentials("server", "srv")
    await network.plain()


async def test_a_server_refuses_certificates_that_are_not_right(network: Network) -> None:
    foreign = make_authority("Foreign CA", "p256", 10)
    for pair, why in (
        (issue(foreign, "alice", "p256", 10), "Foreign CA"),
        (expired(network.authority, "alice"), "expired"),
        (Pair(issue(network.authority, "alice", "p256", 10).certificate, foreign.key_pem), "does not fit"),
    ):
        network.show("client", pair)
        ours, theirs = await network.flow()
        assert (ours.code, theirs.code) == (-1009, -1009)
        assert why in str(theirs)
        assert [line for line in network.lines() if why in line] == [f"Refused a flow request for srv: {theirs}"]
    network.credentials("client", "alice")
    await network.plain()


async def test_a_name_for_the_log_alone_is_refused_in_one_line(network: Network) -> None:
    """An authority's client who calls himself what looks like a line of the log, or moves its reader's cursor."""
    network.show("client", issued(network.authority, "alice\n==1== irmd(II): \x1b[2JAll is well.", datetime.now(UTC)))
    ours, theirs = await network.flow()
    assert (ours.code, theirs.code) == (-1009, -1009)
    assert r"'alice\n==1== irmd(II): \x1b[2JAll is well.', has unprintable" in str(theirs)
    assert [line for line in network.lines() if "alice" in line] == [f"Refused a flow request for srv: {theirs}"]


async def test_an_ed25519_server_with_enc_conf_is_told_what_to_do(network: Network) -> None:
    network.credentials("server", "srv", "ed25519")
    network.write("server/srv/enc.conf", "")
    network.write("client/srv/enc.conf", "")
    ours, theirs = await network.flow()
    assert (ours.code, theirs.code) == (-1009, -1009)
    assert "cannot have an enc.conf" in str(theirs)


# ---------------------------------------------------------------- files that are wrong


@pytest.mark.parametrize(
    ("file", "code", "why"),
    [("enc.conf", -1008, r"enc.conf:1: key exchange"), ("crt.pem", -1009, "crt.pem"), ("key.pem", -1009, "key.pem")],
)
async def test_a_wrong_file_of_the_server_ends_both(network: Network, file: str, code: int, why: str) -> None:
    network.credentials("server", "srv")
    network.write(f"server/srv/{file}", "kex=nonsense")
    ours, theirs = await network.flow()
    assert (ours.code, theirs.code) == (code, code)
    refusals = [line for line in network.lines() if line.startswith("Refused")]
    assert refusals == [f"Refused a flow request for srv: {theirs}"]
    assert why in refusals[0]


@pytest.mark.parametrize(("file", "code"), [("enc.conf", -1008), ("crt.pem", -1009), ("key.pem", -1009)])
async def test_a_wrong_file_of_the_client_is_not_the_servers_fault(network: Network, file: str, code: int) -> None:
    network.credentials("client", "alice")
    network.write(f"client/srv/{file}", "kex=nonsense")
    ours, theirs = await network.flow()
    assert ours.code == code
    assert isinstance(theirs, asyncio.CancelledError)
    assert network.lines() == [f"Cannot ask for a flow to srv: {ours}"]


async def test_a_wrong_store_refuses_whoever_shows_a_certificate(network: Network) -> None:
    network.write("cacert/rubbish", "rubbish")
    await network.plain()
    network.credentials("client", "alice")
    ours, theirs = await network.flow()
    assert (ours.code, theirs.code) == (-1009, -1009)
    assert "cacert/rubbish" in str(theirs)


async def test_names_with_security_files_are_an_administrators(make_network: Maker) -> None:
    network = await make_network()
    network.credentials("server", "srv")
    (network.directory / "server" / "bank").mkdir()
    with pytest.raises(NotPermitted, match="has security files, so an administrator must create it"):
        await network.host.bob.call(CreateName(NameInfo("bank")))
    await network.host.root.call(CreateName(NameInfo("bank")))


# ---------------------------------------------------------------- hostile requests


async def test_requests_that_are_none(make_network: Maker) -> None:
    network = await make_network(layer=True)
    network.credentials("server", "srv")
    good = network.request(Security(Encryption(kex="X25519")))
    alice = Security(credentials=_credentials(network, issue(network.authority, "alice", "p256", 10)))
    tampered, in_certificate = bytearray(network.request(alice)), bytearray(network.request(alice))
    tampered[-1] ^= 1
    in_certificate[50] ^= 255
    cases = [
        (b"", "at least 36"),
        (good[: len(good) // 2], "fields need"),
        (good + b"x", "trailing"),
        (network.request(late=30), "ms old"),
        (network.request(late=-1), "in the future"),
        (bytes(tampered), "signature"),
        (bytes(in_certificate), "certificate"),
        (good[:24] + b"\x12\x34" + good[26:], "unknown cipher NID"),
        (good[:30] + b"\xea\x60" + good[32:], "fields need"),
        (os.urandom(2000), "."),
    ]
    for data, why in cases:
        accepted = network.server.accept(timeout=WAIT)
        with pytest.raises(AuthenticationFailed, match=why) as refusal:
            await network.arrive(data)
        with pytest.raises(AuthenticationFailed):
            await accepted
        assert network.lines() == [f"Refused a flow request for srv: {refusal.value}"]
    await network.plain()


def _credentials(network: Network, pair: Pair) -> Any:
    network.show("client", pair)
    found = network.host.irm.security.credentials(network.host.irm.security.paths(Side.CLIENT, "srv"))
    for name in ("crt.pem", "key.pem"):
        (network.directory / "client" / "srv" / name).unlink()
    return found


async def test_a_request_is_good_once(make_network: Maker) -> None:
    network = await make_network(layer=True)
    data = network.request()
    accepted = network.server.accept(timeout=WAIT)
    close_grants(await network.arrive(data))
    await network.server.dealloc((await accepted).flow_id)
    accepted = network.server.accept(timeout=WAIT)
    with pytest.raises(AuthenticationFailed, match="replay"):
        await network.arrive(data)
    with pytest.raises(AuthenticationFailed):
        await accepted


async def test_a_response_is_no_request(make_network: Maker) -> None:
    network = await make_network(layer=True)
    accepted = network.server.accept(timeout=WAIT)
    arrival = await network.arrive(network.request())
    close_grants(arrival)
    await network.server.dealloc((await accepted).flow_id)
    accepted = network.server.accept(timeout=WAIT)
    with pytest.raises(AuthenticationFailed, match="trailing"):
        await network.arrive(arrival.data)
    with pytest.raises(AuthenticationFailed):
        await accepted


async def test_keys_that_are_none(make_network: Maker) -> None:
    network = await make_network(layer=True)
    good = network.request(Security(Encryption(kex="X25519")))
    for key in (bytes(32), b"\1" + bytes(31)):  # low order
        data = network.request(Security(Encryption(kex="X25519")))[:-32] + key
        accepted = network.server.accept(timeout=WAIT)
        with pytest.raises(CryptError):
            await network.arrive(data)
        with pytest.raises(CryptError):
            await accepted
    assert len(good) == 36 + 44


async def test_a_bad_store_is_told_at_the_start(
    make_network: Maker, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "security" / "cacert").mkdir(parents=True)
    (tmp_path / "security" / "cacert" / "notes").write_text("rubbish")
    network = await make_network()
    (line,) = network.lines()
    assert line.startswith("No flow whose peer shows a certificate will be allocated: ")
    assert "cacert/notes" in line
