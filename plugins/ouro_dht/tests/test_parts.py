"""Parameters, timers, limits."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ouro_dht.config import DhtConfig, decode_config, encode_config
from ouro_dht.limits import Limiter
from ouro_dht.node import Dht
from ouro_dht.timers import Deadlines, Timers

from ouro_core.model.config import parse_config, to_text
from ouro_core.model.errors import ConfigError, WireError
from ouro_core.plugins import PluginHost

# ---------------------------------------------------------------- parameters (8.3)


def test_defaults() -> None:
    config = DhtConfig()
    assert (config.dht_alpha, config.dht_k) == (3, 8)
    assert (config.dht_t_expire, config.dht_t_refresh, config.dht_t_replicate) == (86400, 900, 900)
    assert config.lease == 2700
    assert DhtConfig(dht_t_expire=60).lease == 60


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("dht_alpha", 1, 10), ("dht_k", 1, 20), ("dht_t_expire", 10, 86400), ("dht_t_refresh", 3, 3600),
     ("dht_t_replicate", 3, 3600)],
)  # fmt: skip
def test_ranges(name: str, low: int, high: int) -> None:
    for value in (low, high):
        assert getattr(parse_config(DhtConfig, {name: str(value)}), name) == value
        assert getattr(DhtConfig(**{name: value}), name) == value
    for wrong in (low - 1, high + 1):
        with pytest.raises(ConfigError, match=f"needs a whole number from {low} to {high}"):
            DhtConfig(**{name: wrong})
    for text in (str(low - 1), str(high + 1), "", "x", "1.5"):
        with pytest.raises(ConfigError, match=name):
            parse_config(DhtConfig, {name: text})


def test_other_words() -> None:
    with pytest.raises(ConfigError, match="known: auto, on, off"):
        DhtConfig(dht_prototype="maybe")
    assert to_text(DhtConfig(dht_prototype="off")) == {"dht_prototype": "off"}


def test_the_message_of_the_prototype() -> None:
    """`dir_dht_config_msg` (1.2); the field that is ours is there only when it says something."""
    assert encode_config(DhtConfig(), 0).hex() == "080310081880a3052084072884073000"
    assert encode_config(DhtConfig(), 0x04030201).endswith(b"\x30\x81\x84\x8c\x20")
    assert decode_config(encode_config(DhtConfig(), 5)) == (DhtConfig(), 5)


configs = st.builds(
    DhtConfig, st.integers(1, 10), st.integers(1, 20), st.integers(10, 86400), st.integers(3, 3600),
    st.integers(3, 3600), st.sampled_from(["auto", "on", "off"]),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(configs, st.integers(0, (1 << 64) - 1))
def test_every_configuration_travels(config: DhtConfig, peer: int) -> None:
    assert decode_config(encode_config(config, peer)) == (config, peer)
    assert Dht.decode_config(Dht.encode_config(config, peer)) == (config, peer)


@pytest.mark.parametrize("data", [b"", b"\x08\x03", b"\xff", b"\x08\x03\x10\x08\x18\x80\xa3\x05 \x84\x07(\x84\x07"])
def test_configurations_that_are_none(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_config(data)


def test_configurations_out_of_range() -> None:
    good = encode_config(DhtConfig(), 1)
    for bad in (b"\x08\x00" + good[2:], good[:2] + b"\x10\x00" + good[4:], good + b"\xa0\x06\x07"):
        with pytest.raises(ConfigError):
            decode_config(bad)


def test_the_plugin_is_found() -> None:
    host = PluginHost()
    host.load()
    assert host.directory_policies["dht"] is Dht
    assert Dht.code == 0


# ---------------------------------------------------------------- timers


def test_timers_run_in_order_and_can_be_cancelled() -> None:
    timers, ran = Timers(), []
    for time in (3.0, 1.0, 2.0):
        timers.at(time, lambda now, time=time: ran.append((time, now)))  # type: ignore[misc]
    timers.cancel(timers.at(1.5, lambda now: ran.append((0.0, now))))
    timers.cancel(None)
    assert timers.next() == 1.0
    timers.run(2.5)
    assert ran == [(1.0, 2.5), (2.0, 2.5)]
    assert timers.next() == 3.0


def test_a_timer_that_cancels_another_that_is_due() -> None:
    timers = Timers()
    ran: list[str] = []
    later: Any = None

    def first(now: float) -> None:
        ran.append("first")
        timers.cancel(later)

    timers.at(1.0, first)
    later = timers.at(1.0, lambda now: ran.append("second"))
    timers.run(1.0)
    assert ran == ["first"]
    timers.cancel(later)


def test_what_a_timer_asks_for_waits_for_the_next_run() -> None:
    timers = Timers()
    ran: list[float] = []

    def again(now: float) -> None:
        ran.append(now)
        timers.at(now, again)

    timers.at(1.0, again)
    timers.run(1.0)
    timers.run(1.0)
    assert ran == [1.0, 1.0]


def test_cancelled_timers_take_no_room_for_long() -> None:
    timers = Timers()
    timers.at(1.0, lambda now: None)
    for _ in range(10000):
        timers.cancel(timers.at(5.0, lambda now: None))
    assert len(timers._heap) < 200
    assert timers.next() == 1.0


# ---------------------------------------------------------------- limits


def test_deadlines_come_in_order_and_what_does_not_count_takes_no_room_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Deadlines, "MANY", 64)
    alive = {b"a", b"b"}
    deadlines = Deadlines(lambda time, key, value: value in alive)
    for i in range(10000):
        deadlines.add(5000.0 - i % 7, b"key", b"%d" % i)
        deadlines.add(5000.0 - i % 5, b"key", b"a")
        assert len(deadlines) <= 64
    deadlines.add(1.0, b"key", b"b")
    assert deadlines.next() == 1.0
    assert deadlines.pop() == (1.0, b"key", b"b")
    rest = [deadlines.pop() for _ in range(len(deadlines))]
    assert rest == sorted(rest)
    assert min(time for time, _, value in rest if value == b"a") == 4996.0
    assert deadlines.next() is None


def test_deadlines_that_count_all_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deadlines, "MANY", 64)
    deadlines = Deadlines(lambda time, key, value: True)
    for i in range(1000):
        deadlines.add(float(i * 7 % 1000), b"key", b"%d" % i)
    seen = [entry for _ in range(200) for entry in deadlines.some(16)]
    assert len(set(seen)) == 1000  # every one has its turn
    assert [deadlines.pop()[0] for _ in range(1000)] == sorted(float(i * 7 % 1000) for i in range(1000))


def test_a_source_has_a_burst_and_a_rate() -> None:
    limiter = Limiter(rate=10.0, burst=5.0)
    assert [limiter.allows(1, 0.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert limiter.allows(2, 0.0)
    assert not limiter.allows(1, 0.05)
    assert limiter.allows(1, 0.11)
    assert [limiter.allows(1, 100.0) for _ in range(7)] == [True] * 5 + [False] * 2


def test_sources_are_bounded() -> None:
    limiter = Limiter(rate=1.0, burst=1.0, sources=100)
    for source in range(100000):
        limiter.allows(source, 0.0)
    assert len(limiter) == 100
