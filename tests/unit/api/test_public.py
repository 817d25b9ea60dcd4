"""`ouro_core` itself: what it exports, and how little it imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ouro_core
from ouro_core.api.process import program_name
from ouro_core.model import errors, qos


def imported(code: str) -> set[str]:
    """The modules there are after running some code in a fresh interpreter."""
    code += "\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


def test_every_public_name_is_there() -> None:
    for name in ouro_core.__all__:
        assert getattr(ouro_core, name) is not None
    assert set(ouro_core.__all__) <= set(dir(ouro_core))
    with pytest.raises(AttributeError, match="no_such_name"):
        ouro_core.no_such_name  # noqa: B018


def test_every_error_and_every_qos_is_public() -> None:
    wanted = {n for n in errors.__all__ if isinstance(getattr(errors, n), type)}
    wanted |= {n for n in qos.__all__ if isinstance(getattr(qos, n), qos.QosSpec)} - {"NP1"} | {"QosSpec"}
    assert wanted <= set(ouro_core.__all__)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(ouro_core.__file__).read_text())
    (block,) = [n for n in tree.body if isinstance(n, ast.If)]
    typed = {alias.asname for n in block.body if isinstance(n, ast.ImportFrom) for alias in n.names}
    assert typed == set(ouro_core.__all__) - {"__version__"}


def test_importing_the_package_imports_nothing() -> None:
    assert not [m for m in imported("import ouro_core") if m.startswith("ouro_core.")]


def test_synchronous_flows_need_no_loop_and_no_plugins() -> None:
    modules = imported("from ouro_core import FlowSet, flow_accept, flow_alloc, flow_join, OuroError, QosSpec")
    assert not modules & {"asyncio", "pluggy", "cryptography", "click", "importlib.metadata", "ouro_core.plugins"}


@pytest.mark.parametrize(
    ("argv0", "name"),
    [
        ("/usr/bin/oping", "oping"),
        ("./server.py", "server.py"),
        ("/venv/lib/site-packages/tool/__main__.py", "tool"),
        ("-c", Path(sys.executable).name),
        ("-m", Path(sys.executable).name),
        ("", Path(sys.executable).name),
    ],
)
def test_the_program_that_is_announced(argv0: str, name: str) -> None:
    assert program_name(argv0) == name
