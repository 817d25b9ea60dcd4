"""Parameters that are declared once."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouro_core.model.config import boolean, choice, integer, option, options, parse_config, text, to_text
from ouro_core.model.errors import ConfigError


@attrs.frozen
class Config:
    device: str = option(parse=text(8), help="device to send on", keyword="dev")
    ttl: int = option(60, parse=integer(1, 255), unit="hops", help="largest number of hops", key="max_ttl")
    ethertype: int = option(
        0xA000, parse=integer(0x600, 0xFFFE, base=16), show=hex, help="ethertype", keyword="ethertype"
    )
    congestion: str = option("MB-ECN", parse=choice("none", "MB-ECN"), help="congestion avoidance")
    wait: float = option(1.5, parse=float, unit="s", help="wait")
    strict: bool = option(False, parse=boolean, help="refuse strangers")
    derived: int = 7  # not an option


CONFIGS = st.builds(
    Config,
    st.text(st.characters(max_codepoint=127), min_size=1, max_size=8),
    st.integers(1, 255),
    st.integers(0x600, 0xFFFE),
    st.sampled_from(["none", "MB-ECN"]),
    st.floats(allow_nan=False),
    st.booleans(),
)


@given(CONFIGS)
def test_there_and_back(config: Config) -> None:
    texts = to_text(config)
    assert all(isinstance(t, str) for t in texts.values())
    assert parse_config(Config, texts) == config


def test_only_what_differs_from_the_defaults_is_sent() -> None:
    assert to_text(Config("eth0")) == {"device": "eth0"}
    assert to_text(Config("eth0", ethertype=0xBEEF, strict=True)) == {
        "device": "eth0", "ethertype": "0xbeef", "strict": "true",
    }  # fmt: skip


def test_what_an_option_says_of_itself() -> None:
    device, ttl, *_ = options(Config)
    assert (device.name, device.keyword, device.key, device.required) == ("device", "dev", "device", True)
    assert (ttl.keyword, ttl.key, ttl.default, ttl.unit, ttl.required) == ("ttl", "max_ttl", 60, "hops", False)
    assert [o.name for o in options(Config)] == ["device", "ttl", "ethertype", "congestion", "wait", "strict"]
    assert options(attrs.make_class("Nothing", [])) == ()


def test_values_of_toml_become_texts() -> None:
    declared = {o.name: o for o in options(Config)}
    assert declared["ethertype"].parse(declared["ethertype"].text(0xA001)) == 0xA001
    assert declared["ethertype"].parse(declared["ethertype"].text("0xA001")) == 0xA001
    assert declared["strict"].text(True) == "true"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, 'Option "dev" is missing: device to send on.'),
        (
            {"color": "red"},
            'Unknown option: "color". Known: congestion, device, ethertype, strict, ttl, wait.',
        ),
        ({"ttl": "0"}, 'Unknown parameter for ttl: "0". Needs a whole number from 1 to 255.'),
        ({"ttl": "many"}, 'Unknown parameter for ttl: "many". Needs a whole number from 1 to 255.'),
        ({"ttl": "9" * 5000}, "Needs a whole number from 1 to 255."),
        ({"congestion": "mb-ecn"}, 'Unknown parameter for congestion: "mb-ecn". Known: none, MB-ECN.'),
        ({"strict": "perhaps"}, 'Unknown parameter for strict: "perhaps". Needs true or false.'),
        ({"device": ""}, 'Unknown parameter for dev: "". Needs 1 to 8 bytes.'),
        ({"device": "é" * 5}, "Needs 1 to 8 bytes."),
        ({"wait": "long"}, "Unknown parameter for wait"),
    ],
)
def test_messages(values: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_config(Config, ({"device": "eth0"} if values else {}) | values)
    assert message in str(raised.value)


@pytest.mark.parametrize(("word", "value"), [("TRUE", True), ("yes", True), ("on", True), ("1", True)])
def test_booleans(word: str, value: bool) -> None:
    assert boolean(word) is value
    assert boolean({"TRUE": "False", "yes": "no", "on": "OFF", "1": "0"}[word]) is not value


@attrs.frozen
class Range:
    low: int = option(1, parse=integer(0, 9), help="low")
    high: int = option(2, parse=integer(0, 9), help="high")

    def __attrs_post_init__(self) -> None:
        if self.high < self.low:
            raise ValueError(f"high is {self.high}, below low, which is {self.low}")


def test_options_that_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match=r"^High is 2, below low, which is 5\.$"):
        parse_config(Range, {"low": "5"})
