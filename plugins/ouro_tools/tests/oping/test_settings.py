"""The options of oping."""

import pytest
from ouro_tools.oping.settings import Settings, parse
from ouro_tools.options import BadOption, UnknownUnit

from ouro_core.model.qos import RAW, VOICE


def client(line: str) -> Settings:
    return parse(["-n", "x", *line.split()])


def test_defaults() -> None:
    s = client("")
    assert (s.count, s.interval, s.size, s.qos, s.remarks) == (2147483647, 1000, 64, RAW, ())
    assert s == Settings("x")
    assert parse(["-l"]).listen


def test_long_and_short_spellings() -> None:
    long = "--count 3 --interval 2s --size 100 --qos voice --flood --flood-busy --quiet --timeofday --poll --busy"
    short = "-c 3 -i 2s -s 100 -q voice -f -F -Q -D --poll --busy"
    assert client(long) == client(short)
    assert client(long) == Settings(
        "x", poll=True, busy=True, count=3, interval=2000, size=100, qos=VOICE, flood=True, flood_busy=True,
        quiet=True, timeofday=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "attribute", "value", "remark"),
    [("-i 11s", "interval", 10_000, "Ping interval truncated to 10s."),
     ("-s 1501", "size", 1500, "Packet size truncated to 1500 bytes."),
     ("-s 63", "size", 64, "Packet size set to 64 bytes."),
     ("-q frob", "qos", RAW, "Unknown QoS cube, defaulting to raw.")],
)  # fmt: skip
def test_values_are_corrected(line: str, attribute: str, value: object, remark: str) -> None:
    s = client(line)
    assert getattr(s, attribute) == value
    assert s.remarks == (remark,)


def test_an_unknown_qos_is_answered_with_those_there_are() -> None:
    assert client("-q frob").hint == 'qos "frob" is not known; known: raw, best, video, voice, data.'
    assert client("-q voice").hint == client("").hint == ""


@pytest.mark.parametrize(
    ("line", "count"),
    [("-d 2s -i 10", 200), ("-d 2s -i 0 -c 5", 20_000), ("-d 0 -c 5", 5), ("-c 9999999999", 2147483647)],
)
def test_a_duration_sets_the_count(line: str, count: int) -> None:
    assert client(line).count == count


def test_refusals() -> None:
    with pytest.raises(BadOption, match=r"^No server specified\.$"):
        parse([])
    with pytest.raises(BadOption):
        client("-c many")
    with pytest.raises(UnknownUnit):
        client("-i 3y")
