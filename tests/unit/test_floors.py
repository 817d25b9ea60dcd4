"""The plan's floors: an import never runs upwards, the core imports no plugin, nothing imports `testing`."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ouro_core

ROOT = Path(ouro_core.__file__).parent
FLOORS = (
    {"model"},
    {"wire", "rib"},
    {"contracts", "hookspecs"},
    {"oap", "frct"},
    {"plugins", "rpc"},
    {"ipcp", "builtin", "shim"},
    {"irm"},
    {"api"},
    {"cli"},
    {"testing"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a module imports from this package, those for type checking alone left out."""
    package = ["ouro_core", *path.relative_to(ROOT).parts[:-1]]
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            whole = ".".join([*base, node.module] if node.module else base)
            yield from (f"{whole}.{alias.name}" for alias in node.names)


MODULES = sorted(p for p in ROOT.rglob("*.py") if p.parent != ROOT or p.stem in FLOOR)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_never_run_upwards(path: Path) -> None:
    own = FLOOR[room_of(path)]
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "ouro_core" and len(parts) > 1 and parts[1] in FLOOR:
            assert FLOOR[parts[1]] <= own, f"{path.relative_to(ROOT)} imports {name} from a floor above"
        assert not parts[0].startswith("ouro_") or parts[0] == "ouro_core", f"{path} imports the plugin {name}"


def test_every_room_has_a_floor() -> None:
    rooms = {p.name.removesuffix(".py") for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert rooms - {"__init__"} == set(FLOOR)
