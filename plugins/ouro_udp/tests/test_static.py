"""Peers of the configuration, and the hosts file."""

import os
from pathlib import Path

import pytest
from ouro_udp.addresses import IPV4, IPV6
from ouro_udp.config import Udp4Config, Udp6Config
from ouro_udp.static import HostsFile, Peers, hash_of

from ouro_core.model.config import parse_config, to_text
from ouro_core.model.errors import ConfigError

OPING = bytes.fromhex("7862c6fec5ecaef4aa2e3934725e23b3")


def test_a_word_is_a_name_or_its_hash() -> None:
    assert hash_of("oping") == OPING == hash_of(OPING.hex())
    assert hash_of(OPING.hex().upper()) != OPING, "that is a name"


def test_peers() -> None:
    peers = Peers.parse(IPV4, f"a=b=10.0.0.1, oping=10.0.0.2:9,{'0' * 32}=10.0.0.3,10.0.0.4")
    assert {str(address) for address in peers.by_hash.values()} == {"10.0.0.1", "10.0.0.2:9", "10.0.0.3"}
    assert str(peers.by_hash[OPING]) == "10.0.0.2:9"
    assert str(peers.by_hash[bytes(16)]) == "10.0.0.3"
    assert str(peers.other) == "10.0.0.4"
    assert Peers.parse(IPV4, str(peers)) == peers
    assert Peers.parse(IPV4, "") == Peers()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("10.0.0.1,10.0.0.2", "both without a name"),
        ("a=", '"a=": needs an IPv4 address'),
        ("a=b", '"a=b": needs an IPv4 address'),
        ("=10.0.0.1", "Name has 0 bytes"),
        (f"{'n' * 256}=10.0.0.1", "256 bytes"),
    ],
)
def test_peers_that_are_none(text: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        parse_config(Udp4Config, {"ip": "127.0.0.1", "peers": text})


def test_configuration_as_text_and_back() -> None:
    texts = {"ip": "::1", "port": "9", "dns": "fd99::1", "dns_port": "54", "hosts": "/h", "peers": "a=[fd99::2]:8"}
    config = parse_config(Udp6Config, texts)
    assert to_text(config) == texts
    assert config.peers.by_hash[hash_of("a")] == IPV6.parse_peer("[fd99::2]:8")
    assert to_text(parse_config(Udp4Config, {"ip": "127.0.0.1"})) == {"ip": "127.0.0.1"}


def test_a_hosts_file(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text(
        f"# members\n\n10.0.0.2 oping other # both\n10.0.0.3:9\t{bytes(16).hex()}\n10.0.0.9 oping\n"
        "::1 oping\nff02::1 all\n"
    )
    hosts = HostsFile(str(path), IPV4)
    hosts.read()
    assert len(hosts) == 3
    assert str(hosts.find(OPING)) == "10.0.0.2", "the first line counts"
    assert str(hosts.find(hash_of("other"))) == "10.0.0.2"
    assert str(hosts.find(bytes(16))) == "10.0.0.3:9"
    assert hosts.find(hash_of("unknown")) is None


def test_the_hosts_file_of_a_machine_will_do() -> None:
    for family in (IPV4, IPV6):
        HostsFile("/etc/hosts", family).read()


def test_a_hosts_file_that_changes(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("10.0.0.2 oping\n")
    hosts = HostsFile(str(path), IPV4)
    hosts.read()
    replacement = tmp_path / "new"
    replacement.write_text("10.0.0.3 oping\n")
    os.replace(replacement, path)
    hosts.read()
    assert str(hosts.find(OPING)) == "10.0.0.3"
    path.write_text("10.0.0.4 oping\nrubbish oping\n")
    with pytest.raises(ConfigError, match=f"{path}, line 2: rubbish needs an IPv4 address"):
        hosts.read()
    assert str(hosts.find(OPING)) == "10.0.0.3", "what was read last that was right"
    hosts.read()
    path.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        hosts.read()
    assert str(hosts.find(OPING)) == "10.0.0.3"
    path.write_text("10.0.0.5 oping\n")
    hosts.read()
    assert str(hosts.find(OPING)) == "10.0.0.5"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"10.0.0.2", "line 1: 10.0.0.2 needs names"),
        (b"\n0.0.0.0 oping", "line 2: 0.0.0.0 needs the address of one host"),
        (b"\xff\xfe oping", "line 1"),
        (b"10.0.0.2 " + b"n" * 256, "256 bytes"),
        (b"#" * (1 << 20) + b"\n", "longer than"),
    ],
)
def test_hosts_files_that_are_none(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=fault):
        HostsFile(str(path), IPV4).read()


def test_no_hosts_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigError, match="cannot read"):
            HostsFile(str(path), IPV4).read()
