"""docs/reference/config.md: its example works, and every setting is in it."""

import re
from pathlib import Path

from ouro_core.irm.settings import IrmSettings
from ouro_core.model.config import options
from ouro_core.testing.host import Host, eventually

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "config.md").read_text()


def test_the_example_works() -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.M | re.S)
    with Host(config=example) as host:
        eventually(lambda: "Made IPCP lo" in host.log.read_text(), what="the file is applied")
        names = host.rib("names")
        assert set(names) == {"oping.example", "greeter"}
        assert names["oping.example"]["programs"] == ["/bin/cat", "/bin/sh"]
        assert names["oping.example"]["info"]["balance"] == "ROUND_ROBIN"
        assert host.rib("ipcps/lo/info")["layer"] == "net"


def test_every_setting_is_described() -> None:
    described = re.findall(r"^\| `(\w+)` \|", PAGE.split("## `[irmd]`")[1].split("\n## ")[0], re.M)
    assert described == [o.key for o in options(IrmSettings)]


def test_sections_that_are_none(tmp_path: Path) -> None:
    host = Host(tmp_path, config="[names.x]\n")
    try:
        host.start(wait=False)
        assert host.daemon is not None
        assert host.daemon.wait(30) == 1
        assert 'unknown section "names"; known: [irmd], [name.NAME], [TYPE.IPCP];' in host.log.read_text()
    finally:
        host.stop()
