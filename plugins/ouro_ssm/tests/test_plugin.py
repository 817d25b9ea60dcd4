"""The distribution: what it registers, what it costs to import, and what its kernel says about itself."""

import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from ouro_ssm import _kernel, plugin
from ouro_ssm.system import SsmPacketSystem

from ouro_core.contracts.packets import Geometry, PacketSystem, SizeClass
from ouro_core.model.errors import PacketsError


def test_the_entry_point_registers_the_system() -> None:
    (entry,) = (each for each in entry_points(group="ouro") if each.name == "ssm")
    assert entry.load() is plugin
    assert plugin.OURO_API == (1, 0)
    assert plugin.ouro_register_pool_allocators() == [SsmPacketSystem]
    assert issubclass(SsmPacketSystem, PacketSystem)
    assert SsmPacketSystem.name == "ssm"
    assert not SsmPacketSystem.in_process


def test_importing_the_plugin_loads_no_native_code() -> None:
    code = "import sys, ouro_ssm; assert len([m for m in sys.modules if m.startswith('ouro')]) == 1; " + (
        "import ouro_ssm.plugin; assert 'ouro_ssm._kernel' not in sys.modules; assert 'asyncio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_says_why_it_is_not_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SsmPacketSystem.usable() is None
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert "riscv64" in str(SsmPacketSystem.usable())
    monkeypatch.setattr("sys.platform", "darwin")
    assert "Linux" in str(SsmPacketSystem.usable())


@pytest.mark.parametrize(
    "geometry",
    [
        Geometry(()),
        Geometry((SizeClass(256, 0),)),
        Geometry((SizeClass(256, 8), SizeClass(256, 8))),
        Geometry((SizeClass(0, 8),)),
        Geometry((SizeClass(256, -1),)),
        Geometry((SizeClass(1 << 31, 8),)),
        Geometry((SizeClass(256, 1 << 25),)),
        Geometry(tuple(SizeClass(n, 1) for n in range(1, 20))),
        Geometry((SizeClass(256, 8),), receive_share=1.0),
        Geometry((SizeClass(256, 8),), head_room=-1),
        Geometry((SizeClass(1 << 29, 1 << 20),)),
    ],
)
def test_a_geometry_that_cannot_be_is_refused(geometry: Geometry) -> None:
    with pytest.raises(PacketsError):
        _kernel.create_pool(0, geometry, 0, 0, 0o600)
