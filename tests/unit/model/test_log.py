"""The shape of log lines (irmd.md 9) and protocol debugging by component."""

import io
import json
import logging
import os
import sys
from collections.abc import Iterator

import pytest

from ouro_core.model.log import PP, JsonFormatter, TextFormatter, logger, set_debug, setup_logging


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("ouro")
    handlers, level = root.handlers[:], ours.level
    yield
    root.handlers[:] = handlers
    ours.setLevel(level)
    set_debug(())


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines() -> None:
    out = io.StringIO()
    setup_logging(debug=["irmd"], stream=out)
    log = logger("irmd")
    for level in (PP, logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        log.log(level, "Created IPCP %d.", 7)
    head = f"=={os.getpid():05d}== irmd"
    words = ["PP", "DB", "II", "WW", "EE", "EE"]
    assert out.getvalue().splitlines() == [f"{head}({word}): Created IPCP 7." for word in words]


def test_the_pid_has_five_digits() -> None:
    record = logging.LogRecord("ouro.ipcpd/eth-dix", logging.INFO, "f.py", 1, "text", (), None)
    record.process = 42
    assert TextFormatter().format(record) == "==00042== ipcpd/eth-dix(II): text"
    record.process = 1234567
    assert TextFormatter().format(record).startswith("==1234567== ")
    record.process = None
    assert TextFormatter().format(record).startswith("==00000== ")


@pytest.mark.parametrize(
    ("level", "colour"), [(PP, "34"), (logging.INFO, "32"), (logging.WARNING, "33"), (logging.ERROR, "31")]
)
def test_colours_on_a_terminal(level: int, colour: str) -> None:
    out = _Terminal()
    setup_logging(debug=["all"], stream=out)
    logger("irmd").log(level, "text")
    assert out.getvalue().startswith(f"\x1b[{colour}m==")
    assert out.getvalue().endswith("text\x1b[0m\n")


def test_debug_lines_have_no_colour() -> None:
    out = _Terminal()
    setup_logging(debug=["all"], stream=out)
    logger("irmd").debug("text")
    assert "\x1b" not in out.getvalue()


def test_every_line_of_a_message_has_the_head() -> None:
    out = io.StringIO()
    setup_logging(stream=out)
    try:
        raise ValueError("boom")
    except ValueError:
        logger("irmd").exception("first\nsecond\rthird")
    logger("irmd").info("")
    lines = out.getvalue().splitlines()
    assert all(line.startswith(f"=={os.getpid():05d}== irmd(") for line in lines)
    assert [line.split("): ")[1] for line in lines[:3]] == ["first", "second", "third"]
    assert lines[-2].endswith("ValueError: boom")
    assert lines[-1].endswith("irmd(II): ")


def test_json() -> None:
    out = io.StringIO()
    setup_logging(form="json", stream=out)
    logger("ipcpd/udp4").warning("two\nlines")
    (line,) = out.getvalue().splitlines()
    entry = json.loads(line)
    assert (entry.pop("time") > 0, entry) == (
        True, {"pid": os.getpid(), "component": "ipcpd/udp4", "level": "WARNING", "text": "two\nlines"},
    )  # fmt: skip
    try:
        raise ValueError("boom")
    except ValueError:
        record = logging.LogRecord("ouro.x", PP, "f.py", 1, "text", (), sys.exc_info())
    entry = json.loads(JsonFormatter().format(record))
    assert entry["level"] == "PP"
    assert entry["exception"].endswith("ValueError: boom")


@pytest.mark.parametrize("form", ["text", "json"])
def test_loggers_of_others_have_the_same_form(form: str) -> None:
    early, late = io.StringIO(), io.StringIO()
    setup_logging(form=form, stream=early)
    setup_logging(form=form, stream=late)
    logging.getLogger("ouro_metered.ipcp").warning("from a plugin")
    logging.getLogger("ouro_metered.ipcp").debug("of no interest")
    (line,) = late.getvalue().splitlines()
    if form == "json":
        assert json.loads(line)["component"] == "ouro_metered.ipcp"
    else:
        assert line == f"=={os.getpid():05d}== ouro_metered.ipcp(WW): from a plugin"
    assert early.getvalue() == "", "the last call counts"


def test_debugging_by_component() -> None:
    setup_logging(stream=io.StringIO())
    early = {name: logger(name) for name in ("irmd", "irmd/oap", "dht", "ipcpd/eth-dix", "my.type")}
    assert not any(log.isEnabledFor(logging.DEBUG) for log in early.values())
    assert all(log.isEnabledFor(logging.INFO) for log in early.values())

    def wanted() -> set[str]:
        return {name for name, log in early.items() if log.isEnabledFor(PP)}

    for words, expected in (
        (["oap"], {"irmd/oap"}),
        (["irmd"], {"irmd", "irmd/oap"}),
        (["irmd/oap", " dht "], {"irmd/oap", "dht"}),
        (["eth-dix"], {"ipcpd/eth-dix"}),
        (["my.type"], {"my.type"}),
        (["all"], set(early)),
        (["", "nothing"], set()),
    ):
        set_debug(words)
        assert wanted() == expected, words
    assert early["dht"].isEnabledFor(logging.INFO)


def test_a_logger_made_later_is_debugged_too() -> None:
    setup_logging(stream=io.StringIO(), debug=["late"])
    assert logger("ipcpd/late").isEnabledFor(PP)
    set_debug(())
    assert not logger("ipcpd/late").isEnabledFor(PP)
