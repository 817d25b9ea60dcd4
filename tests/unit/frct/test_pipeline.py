"""What a flow gets above its end, why it may be refused, and the file for analysers."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from ouro_core.builtin.heap import HeapPacketSystem
from ouro_core.contracts.crypto import CipherSuite
from ouro_core.contracts.packets import SHARED_GEOMETRY, USER_GEOMETRY, ClientRef, Domain, Options, PacketClient
from ouro_core.frct.crypt import crypt
from ouro_core.frct.ordered import FrctPipeline, above
from ouro_core.frct.pipeline import Pipeline, stages_for
from ouro_core.frct.stage import Crc, Stage
from ouro_core.model.errors import CryptError, FlowDown, FlowTimeout, InvalidArgument, NotSupported
from ouro_core.model.flow import Grant
from ouro_core.model.irm_requests import Allocation
from ouro_core.model.qos import BEST_EFFORT, DATA, RAW, RAW_NO_ERRORS
from ouro_core.wire import crc32

from .conftest import Ciphers

KEY = bytes(range(32))
PLAIN = Allocation(7, Grant(b""), RAW, 1, "a name")
SECRET = attrs.evolve(PLAIN, cipher=901, key=KEY, suite="aes-256-gcm", plugin="classic", oap=bytes(range(16)))


@pytest.fixture
def find(ciphers: Ciphers) -> Any:
    asked: list[tuple[str, str]] = []

    def find(plugin: str, name: str) -> CipherSuite:
        asked.append((plugin, name))
        if name not in ciphers:
            raise InvalidArgument(f'no cipher suite is called "{name}"')
        return ciphers[name]

    find.asked = asked  # type: ignore[attr-defined]
    return find


@pytest.fixture
def client() -> Iterator[PacketClient]:
    broker = HeapPacketSystem.broker(SHARED_GEOMETRY, USER_GEOMETRY)
    grant = broker.admit(ClientRef(1, Domain()))
    client = HeapPacketSystem.client(grant.data, grant.fds)
    yield client
    client.close()
    broker.close()


# ---------------------------------------------------------------- which stages


def test_a_raw_flow_has_none_and_asks_for_no_plugin(find: Any) -> None:
    assert stages_for(PLAIN, find) == ()
    (crc,) = stages_for(attrs.evolve(PLAIN, qos=RAW_NO_ERRORS), find)
    assert isinstance(crc, Crc)
    assert find.asked == []


def test_encryption_is_above_the_crc(find: Any) -> None:
    stages = stages_for(attrs.evolve(SECRET, qos=RAW_NO_ERRORS), find)
    assert [stage.counter for stage in stages] == ["undecryptable", "damaged"]
    assert find.asked == [("classic", "aes-256-gcm")]


def test_frct_is_above_the_stages(client: PacketClient, find: Any) -> None:
    for qos, reliable in ((DATA, True), (BEST_EFFORT, False)):
        end, _ = client.pair()
        allocation = attrs.evolve(PLAIN, qos=qos)
        path = above(end, stages_for(allocation, find), allocation)
        assert isinstance(path, FrctPipeline)
        assert path.frct.reliable is reliable
    end, _ = client.pair()
    assert above(end, (), PLAIN) is end


def test_a_cipher_that_is_not_here(find: Any) -> None:
    with pytest.raises(NotSupported, match=r'flow 7 .* "rot13" \(number 901\).*no cipher suite is called'):
        stages_for(attrs.evolve(SECRET, suite="rot13"), find)


def test_a_cipher_that_does_not_work_here(ciphers: Ciphers) -> None:
    class Broken:
        unavailable = "needs a newer library; install it"

    with pytest.raises(NotSupported, match="install it"):
        stages_for(SECRET, lambda *_: Broken())  # type: ignore[arg-type]


@pytest.mark.parametrize("key", [b"", KEY[:16], bytes(32)], ids=["missing", "short", "zeros"])
def test_never_without_a_key(find: Any, key: bytes) -> None:
    with pytest.raises(CryptError, match="flow 7"):
        stages_for(attrs.evolve(SECRET, key=key), find)


# ---------------------------------------------------------------- the composition


class Mark(Stage):
    """Puts its letter behind the packet, and takes it off again."""

    def __init__(self, letter: str) -> None:
        self._letter = letter.encode()

    @property
    def counter(self) -> str:  # type: ignore[override]
        return f"without {self._letter.decode()}"

    def seal(self, packet: bytes) -> bytes:
        return packet + self._letter

    def open(self, packet: bytes) -> bytes | None:
        if packet.endswith(self._letter):
            return packet.removesuffix(self._letter)
        self.dropped += 1
        return None


def test_down_in_order_and_up_in_reverse(client: PacketClient) -> None:
    a, b = client.pair()
    top = Pipeline(a, [Mark("1"), Mark("2"), Mark("3")], Options(read_timeout=0.05))
    top.write(b"x")
    top.write_many([b"y", b""])
    assert b.read_many() == [b"x123", b"y123"]
    b.write_many([b"x123", b"x12", b"x23", b"x13", b"123", b"y123"])
    assert top.read_many() == [b"x", b"y"], "what nothing is left of is nobody's"
    assert top.counters == {"without 1": 1, "without 2": 1, "without 3": 1}
    with pytest.raises(FlowTimeout):
        top.read()


def test_wire_form(client: PacketClient, ciphers: Ciphers) -> None:
    """IV, ciphertext, tag, CRC (flows.md 8)."""
    a, b = client.pair()
    Pipeline(a, [crypt(ciphers["aes-256-gcm"], KEY), Crc()]).write(b"payload")
    sealed = crc32.strip(b.read())
    assert len(sealed) == 12 + 7 + 16
    assert ciphers["aes-256-gcm"].key(KEY).open(sealed) == b"payload"


def test_empty_packets_pass_by(client: PacketClient, ciphers: Ciphers) -> None:
    a, b = client.pair()
    options = Options(deliver_empty=True)
    top, bottom = (Pipeline(end, [crypt(ciphers["aes-256-gcm"], KEY), Crc()], options) for end in (a, b))
    top.write(b"")
    top.write_many([b"", b"x"])
    a.keepalive()
    assert bottom.read() == b""
    assert bottom.read_many() == [b"", b"x", b""]


def test_behind_a_relay(client: PacketClient, ciphers: Ciphers) -> None:
    """As an IPCP has it below a forwarder."""
    (a, b), (x, y) = client.pair(), client.pair()
    top, below = (Pipeline(end, [crypt(ciphers["aes-256-gcm"], KEY)]) for end in (a, b))
    relay = client.relay(below, x)
    try:
        top.write_many([b"%d" % n for n in range(100)])
        got: list[bytes] = []
        while len(got) < 100:
            got += y.read_many()
        assert got == [b"%d" % n for n in range(100)]
        y.write(b"back")
        assert top.read() == b"back"
    finally:
        relay.stop()
    top.close()
    with pytest.raises(FlowDown):
        below.read()


# ---------------------------------------------------------------- the key log


def test_the_key_log(find: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys"
    monkeypatch.setenv("OURO_KEYLOG", str(path))
    stages_for(SECRET, find)
    stages_for(PLAIN, find)
    stages_for(attrs.evolve(SECRET, flow_id=8, oap=b""), find)
    assert path.read_text() == (
        f"000102030405060708090a0b0c0d0e0f 7 aes-256-gcm {KEY.hex()} a name\n- 8 aes-256-gcm {KEY.hex()} a name\n"
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_key_log_unless_it_is_asked_for(find: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OURO_KEYLOG", raising=False)
    stages_for(SECRET, find)
    monkeypatch.setenv("OURO_KEYLOG", "")
    stages_for(SECRET, find)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["readable by others", "a link", "a directory", "a pipe", "nowhere"])
def test_a_key_log_that_is_not_safe_is_not_written(
    find: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    path, elsewhere = tmp_path / "keys", tmp_path / "elsewhere"
    if what == "readable by others":
        path.touch(0o644)
        path.chmod(0o644)
    elif what == "a link":
        elsewhere.touch(0o600)
        path.symlink_to(elsewhere)
    elif what == "a directory":
        path.mkdir()
    elif what == "a pipe":
        os.mkfifo(path, 0o600)
    else:
        path = tmp_path / "no" / "keys"
    monkeypatch.setenv("OURO_KEYLOG", str(path))
    assert len(stages_for(SECRET, find)) == 1, "the flow works all the same"
    assert "flow 7 was not logged" in caplog.text
    assert KEY.hex() not in caplog.text
    for file in (path, elsewhere):
        assert not file.is_file() or file.read_bytes() == b""
