"""The hooks that register, one by one: what a plugin returns is found by kind and name."""

from collections.abc import Callable

from ouro_core.contracts.crypto import Authenticator, CipherSuite, DheSuite, Digest, Kdf
from ouro_core.contracts.directory import DirectoryPolicy
from ouro_core.contracts.ipcp import Ipcp
from ouro_core.contracts.packets import PacketSystem
from ouro_core.plugins import PluginHost

Install = Callable[..., None]
MakeHost = Callable[..., PluginHost]


def registered(install: Install, make_host: MakeHost, kind: str, made: str) -> PluginHost:
    install("ouro-mine", {"mine": f"""
from ouro_core.contracts.crypto import *
from ouro_core.contracts.directory import DirectoryPolicy
from ouro_core.contracts.packets import PacketSystem

@hookimpl
def ouro_register_{kind}():
    return [{made}]
"""})  # fmt: skip
    host = make_host("mine")
    assert set(host.registry(kind)) == {"my-own"}
    assert host.provider(kind, "my-own") == "mine"
    return host


def test_hook_ouro_register_ipcp_types(install: Install, make_host: MakeHost) -> None:
    host = registered(install, make_host, "ipcp_types", "complete(Ipcp, name='my-own')")
    assert issubclass(host.ipcp_types["my-own"], Ipcp)


def test_hook_ouro_register_directory_policies(install: Install, make_host: MakeHost) -> None:
    host = registered(install, make_host, "directory_policies", "complete(DirectoryPolicy, name='my-own')")
    assert issubclass(host.directory_policies["my-own"], DirectoryPolicy)


def test_hook_ouro_register_pool_allocators(install: Install, make_host: MakeHost) -> None:
    host = registered(install, make_host, "pool_allocators", "complete(PacketSystem, name='my-own')")
    assert issubclass(host.pool_allocators["my-own"], PacketSystem)


def test_hook_ouro_register_kex_suites(install: Install, make_host: MakeHost) -> None:
    host = registered(install, make_host, "kex_suites", "suite(DheSuite, 'my-own')")
    assert isinstance(host.kex_suites["my-own"], DheSuite)


def test_hook_ouro_register_cipher_suites(install: Install, make_host: MakeHost) -> None:
    host = registered(install, make_host, "cipher_suites", "suite(CipherSuite, 'my-own')")
    assert isinstance(host.cipher_suites["my-own"], CipherSuite)


def test_hook_ouro_register_kdfs(install: Install, make_host: MakeHost) -> None:
    host = registered(install, make_host, "kdfs", "suite(Kdf, 'my-own')")
    assert isinstance(host.kdfs["my-own"], Kdf)


def test_hook_ouro_register_digests(install: Install, make_host: MakeHost) -> None:
    host = registered(install, make_host, "digests", "suite(Digest, 'my-own')")
    assert isinstance(host.digests["my-own"], Digest)


def test_hook_ouro_register_authenticators(install: Install, make_host: MakeHost) -> None:
    host = registered(install, make_host, "authenticators", "suite(Authenticator, 'my-own')")
    assert isinstance(host.authenticators["my-own"], Authenticator)
