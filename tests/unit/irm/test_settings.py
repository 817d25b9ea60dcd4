"""Table `[irmd]`: the pools that are asked for, and those that cannot be."""

from pathlib import Path

import pytest

from ouro_core.contracts.packets import SHARED_GEOMETRY, USER_GEOMETRY, SizeClass
from ouro_core.irm.configfile import load_configuration
from ouro_core.irm.settings import IrmSettings
from ouro_core.model.config import parse_config, to_text
from ouro_core.model.errors import ConfigError


def test_pools_are_as_the_contract_says_unless_configured() -> None:
    settings = IrmSettings()
    assert (settings.shared_geometry, settings.user_geometry) == (SHARED_GEOMETRY, USER_GEOMETRY)


def test_pools_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "irmd.conf"
    path.write_text('[irmd]\nshared_pool = "2048:512,256:1024"\nuser_pool = "512:64"\nshards = 8\n')
    settings = load_configuration(path).settings
    assert settings.shared_geometry.classes == (SizeClass(256, 1024), SizeClass(2048, 512))
    assert settings.user_geometry.classes == (SizeClass(512, 64),)
    assert settings.shared_geometry.shards == settings.user_geometry.shards == 8
    assert settings.shared_geometry.head_room == SHARED_GEOMETRY.head_room
    assert parse_config(IrmSettings, to_text(settings)) == settings


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "PAYLOAD:BLOCKS"),
        ("256", "PAYLOAD:BLOCKS"),
        ("256:2048,", "PAYLOAD:BLOCKS"),
        ("big:2048", '"big:2048" is none'),
        ("256:many", "PAYLOAD:BLOCKS"),
        ("256:0", "not 0"),
        ("256:-5", "not -5"),
        ("256:99999999999", "not 99999999999"),
        ("0:5", "not of 0"),
        ("99999999999:5", "not of 99999999999"),
        ("256:5,512:5,256:6", "256 stands there twice"),
        (",".join(f"{n}:1" for n in range(100, 120)), "at most 16"),
    ],
)
def test_classes_that_cannot_be(value: str, words: str) -> None:
    for name in ("shared_pool", "user_pool"):
        with pytest.raises(ConfigError, match=f"{name}.*{words}"):
            parse_config(IrmSettings, {name: value})


@pytest.mark.parametrize("value", ["0", "17", "-1", "four"])
def test_numbers_of_shards_that_cannot_be(value: str) -> None:
    with pytest.raises(ConfigError, match=r"shards.*from 1 to 16"):
        parse_config(IrmSettings, {"shards": value})
