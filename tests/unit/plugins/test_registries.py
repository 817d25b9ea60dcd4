"""Registries: what plugins bring by kind, complete or not at all."""

from collections.abc import Callable

import pytest

from ouro_core.model.errors import InvalidArgument, IpcpTypeError, PluginError
from ouro_core.plugins import BUILTINS, PluginHost, PluginStatus
from ouro_core.plugins.kinds import singular

Install = Callable[..., None]
MakeHost = Callable[..., PluginHost]
Status = Callable[..., PluginStatus]

GOOD = """
@hookimpl
def ouro_register_digests():
    return [Sum("good", 60001)]
"""

GARBAGE = {
    "an exception": ("digests", "raise RuntimeError('boom')", "ouro_register_digests: RuntimeError: boom"),
    "an exit": ("digests", "raise SystemExit", "ouro_register_digests: SystemExit"),
    "a late exception": ("digests", "yield Sum('a', 1); raise RuntimeError('boom')", "RuntimeError: boom"),
    "nothing": ("digests", "pass", "returned None instead of a list"),
    "a word": ("digests", "return 'sha256'", "returned 'sha256' instead of a list"),
    "a mapping": ("digests", "return {'a': Sum('a', 1)}", "instead of a list"),
    "a class for an instance": ("digests", "return [Digest]", "is not an instance of Digest"),
    "an instance for a class": ("ipcp_types", "return [Sum('a', 1)]", "is not a subclass of Ipcp"),
    "another class": ("ipcp_types", "return [Digest]", "is not a subclass of Ipcp"),
    "an abstract class": (
        "pool_allocators",
        "from ouro_core.contracts.packets import PacketSystem\n    return [PacketSystem]",
        "PacketSystem does not implement broker, client, usable",
    ),
    "no name": ("ipcp_types", "return [type('Nameless', (ipcp(''),), {'name': None})]", "is None; it needs one word"),
    "two words": ("ipcp_types", "return [ipcp('two words')]", "is 'two words'; it needs one word"),
    "an empty name": ("ipcp_types", "return [ipcp('')]", "is ''; it needs one word"),
    "an alias of two words": (
        "ipcp_types", "return [type('T', (ipcp('t'),), {'aliases': ('a b',)})]", "the alias of"),
    "an alias that is a name": (
        "ipcp_types", "return [ipcp('a'), type('T', (ipcp('t'),), {'aliases': ('a',)})]", "the word 'a' of"),
    "a Config that is no attrs class": (
        "ipcp_types", "return [type('T', (ipcp('t'),), {'Config': dict})]", "it needs a frozen attrs class"),
    "an option that every IPCP has": (
        "ipcp_types", "return [configured('t', name=option(parse=str, help='?'))]", 'the option "name" of'),
    "a key that every IPCP has": (
        "ipcp_types", "return [configured('t', x=option(parse=str, help='?', key='reg'))]", 'the option "x" of'),
    "an option of two words": (
        "ipcp_types", "return [configured('t', x=option(parse=str, help='?', keyword='a b'))]", "is 'a b'; it needs"),
    "a name twice": ("digests", "return [Sum('a', 1), Sum('a', 2)]", "name 'a' of"),
    "a nid twice": ("digests", "return [Sum('a', 1), Sum('b', 1)]", "is taken by itself"),
    "a taken name": ("digests", "return [Sum('good', 5)]", 'is taken by plugin "good" (ouro-good 1.0)'),
    "a taken nid": ("digests", "return [Sum('b', 60001)]", 'is taken by plugin "good" (ouro-good 1.0)'),
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "words"),
    [("ipcp_types", "IPCP type"), ("directory_policies", "directory policy"), ("digests", "digest"),
     ("address_authorities", "address authority")],
)  # fmt: skip
def test_kinds_in_words(kind: str, words: str) -> None:
    assert singular(kind) == words


def test_a_code_of_two_directories(install: Install, make_host: MakeHost, status: Status) -> None:
    """Members that enrol would take one for the other."""
    for word in ("a", "b"):
        install(
            f"ouro-{word}",
            {word: f"""
from ouro_core.contracts.directory import DirectoryPolicy

@hookimpl
def ouro_register_directory_policies():
    return [complete(DirectoryPolicy, name='{word}', code=9)]
"""},
        )  # fmt: skip
    host = make_host("a", "b")
    assert set(host.registry("directory_policies")) == {"a"}
    assert 'is taken by plugin "a" (ouro-a 1.0)' in status(host, "b").error


@pytest.mark.parametrize(("kind", "body", "error"), GARBAGE.values(), ids=GARBAGE)
def test_garbage_breaks_only_its_plugin(
    install: Install, make_host: MakeHost, status: Status, kind: str, body: str, error: str
) -> None:
    install("ouro-good", {"good": GOOD})
    install(
        "ouro-zbad",
        {"bad": f"""
@hookimpl
def ouro_register_kdfs():
    return []

@hookimpl
def ouro_register_{kind}():
    {body}

@hookimpl
def ouro_register_directory_policies():
    raise AssertionError("a broken plugin is not asked again")

@hookimpl
def ouro_flow_allocated(flow):
    raise AssertionError("a broken plugin observes nothing")
"""},
    )  # fmt: skip
    host = make_host("good", "bad")
    host.registry("kdfs")
    assert status(host, "bad").state == "loaded"
    assert set(host.registry(kind)) == ({"good"} if kind == "digests" else set())
    bad = status(host, "bad")
    assert bad.state == "broken"
    assert bad.registered == {}
    assert error in bad.error
    assert host.registry("directory_policies") == {}
    host.observe("ouro_flow_allocated", flow=None)
    assert set(host.digests) == {"good"}


def test_what_a_plugin_registered_earlier_is_taken_back(install: Install, make_host: MakeHost, status: Status) -> None:
    install(
        "ouro-bad",
        {"bad": "@hookimpl\ndef ouro_register_ipcp_types(): return [ipcp('wire')]\n\n"
                "@hookimpl\ndef ouro_register_digests(): raise RuntimeError"},
    )  # fmt: skip
    host = make_host("bad")
    types = host.ipcp_types
    assert set(types) == {"wire"}
    assert status(host, "bad").registered == {"ipcp_types": ("wire",)}
    assert host.digests == {}
    assert types == {}
    assert status(host, "bad").registered == {}
    with pytest.raises(IpcpTypeError):
        host.get("ipcp_types", "wire")


def test_strict_raises_for_garbage(install: Install, make_host: MakeHost) -> None:
    install("ouro-bad", {"bad": "@hookimpl\ndef ouro_register_digests(): return None"})
    host = make_host("bad", strict=True)
    host.load()
    with pytest.raises(PluginError, match="returned None instead of a list"):
        host.registry("digests")


def test_a_plugin_is_asked_once(install: Install, make_host: MakeHost) -> None:
    install(
        "ouro-once",
        {"once": "count = 0\n\n@hookimpl\ndef ouro_register_digests():\n"
                 "    global count; count += 1\n    return [Sum(f'd{count}', count)]"},
    )  # fmt: skip
    host = make_host("once")
    host.load_only("once")
    assert set(host.digests) == {"d1"}
    host.load()
    assert set(host.digests) == {"d1"}


def test_get_and_provider(install: Install, make_host: MakeHost) -> None:
    install("ouro-good", {"good": GOOD})
    host = make_host("good")
    assert host.get("digests", "good").name == "good"
    assert host.provider("digests", "good") == "good"
    with pytest.raises(InvalidArgument, match=r'no digest is called "godo"; known: good$'):
        host.get("digests", "godo")
    with pytest.raises(InvalidArgument):
        host.provider("digests", "godo")


@pytest.mark.parametrize(
    ("kind", "name", "distribution"),
    [
        ("ipcp_types", "eth-llc", "ouro-eth"),
        ("ipcp_types", "udp6", "ouro-udp"),
        ("ipcp_types", "broadcast", "ouro-unicast"),
        ("directory_policies", "dht", "ouro-dht"),
        ("pool_allocators", "ssm", "ouro-ssm"),
        ("kex_suites", "X25519MLKEM768", "ouro-pqc"),
    ],
)
def test_an_unknown_name_says_where_to_get_it(make_host: MakeHost, kind: str, name: str, distribution: str) -> None:
    host = make_host()
    expected = IpcpTypeError if kind == "ipcp_types" else InvalidArgument
    with pytest.raises(expected) as caught:
        host.get(kind, name)
    installed = any(p.distribution == distribution for p in host.plugins())
    assert distribution in str(caught.value)
    assert ("not selected" if installed else f"comes with the distribution {distribution}") in str(caught.value)


def test_an_unknown_name_of_a_broken_plugin_says_what_broke_it(install: Install, make_host: MakeHost) -> None:
    install("ouro_SSM", {"shared": "raise RuntimeError('no memory')"})
    with pytest.raises(InvalidArgument, match=r"It comes with plugin .*no memory"):
        make_host("shared").get("pool_allocators", "ssm")


def test_registries_cannot_be_written(install: Install, make_host: MakeHost) -> None:
    with pytest.raises(TypeError):
        make_host().digests["x"] = None  # type: ignore[index]


def test_builtins_enter_by_the_same_hooks(status: Status) -> None:
    host = PluginHost(select=())
    assert "sha256" in host.digests
    assert status(host, "classic").distribution == "ouro-core"
    assert host.provider("digests", "sha256") == "classic"
    without = PluginHost(select=(), block=BUILTINS)
    assert without.digests == {}
    assert {status(without, name).state for name in BUILTINS} == {"blocked"}
