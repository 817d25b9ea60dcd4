"""Errors: numbers that mean the same on every node (irmd.md 1)."""

import copy
import errno
import pickle

import pytest

from ouro_core.model import errors
from ouro_core.model.errors import ConfigError, FlowTimeout, OuroError, error_from_code, raise_for_code

NUMBERS = {
    "NotAllocated": 1000, "IpcpTypeError": 1001, "IrmdError": 1002, "IpcpError": 1003, "IpcpStateError": 1004,
    "FlowDown": 1005, "FlowPeer": 1006, "UnknownName": 1007, "CryptError": 1008, "AuthenticationFailed": 1009,
    "NotPermitted": 1, "NotFound": 2, "BadDescriptor": 9, "WouldBlock": 11, "OutOfMemory": 12, "Exists": 17,
    "InvalidArgument": 22, "BrokenPipe": 32, "TooLong": 90, "NotSupported": 95, "PeerReset": 104, "FlowTimeout": 110,
    "PacketsError": errno.EIO, "WireError": errno.EPROTO, "PluginError": errno.ELIBBAD,
}  # fmt: skip
CLASSES = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, OuroError)]


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(name: str) -> None:
    error = getattr(errors, name)()
    assert (error.errno, error.code) == (NUMBERS[name], -NUMBERS[name])


def test_every_class_has_its_own_number() -> None:
    assert {c.__name__ for c in CLASSES} == {*NUMBERS, "OuroError", "ConfigError"}
    assert ConfigError().code == -22
    assert isinstance(ConfigError(), errors.InvalidArgument)
    assert OuroError().code == -1


@pytest.mark.parametrize("name", NUMBERS)
def test_there_and_back(name: str) -> None:
    cls = getattr(errors, name)
    for back in (error_from_code(cls().code, "because"), error_from_code(NUMBERS[name], "because")):
        assert type(back) is cls
        assert (str(back), back.errno) == ("because", NUMBERS[name])
    assert str(error_from_code(-NUMBERS[name])) == str(cls()) != ""


@pytest.mark.parametrize("number", [3, 125, 999, 1010, 2**31])
def test_unknown_numbers_are_kept(number: int) -> None:
    back = error_from_code(-number, "strange")
    assert type(back) is OuroError
    assert (back.code, str(back)) == (-number, "strange")


def test_results() -> None:
    for good in (0, 1, 4711):
        raise_for_code(good)
    with pytest.raises(errors.UnknownName, match="who"):
        raise_for_code(-1007, "who")


@pytest.mark.parametrize("cls", CLASSES)
def test_they_can_be_pickled_and_copied(cls: type[OuroError]) -> None:
    for error in (cls("text"), cls("text", errno=4711), cls()):
        for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(other) is cls
            assert (str(other), other.errno, other.args) == (str(error), error.errno, error.args)


def test_a_time_out_is_one_for_python_too() -> None:
    error = FlowTimeout("too late")
    assert isinstance(error, TimeoutError)
    assert (str(error), error.errno) == ("too late", 110)
    with pytest.raises(ValueError, match="malformed"):
        raise errors.WireError
