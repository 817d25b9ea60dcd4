"""Every hook has its place in the reference and a test of its own."""

import inspect
import re
from pathlib import Path

import pytest

from ouro_core import hookspecs
from ouro_core.plugins import KINDS

ROOT = Path(__file__).parents[3]
HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("ouro_"))
SECTIONS = {
    m["hook"]: m[0]
    for m in re.finditer(
        r"^### `(?P<hook>\w+)\((?P<arguments>.*)\)`\n(?P<text>(?:(?!^##).*\n)*)",
        (ROOT / "docs/reference/hooks.md").read_text(),
        re.MULTILINE,
    )
}


def test_there_are_hooks() -> None:
    assert len(HOOKS) >= 12


def test_nothing_is_documented_that_does_not_exist() -> None:
    assert sorted(SECTIONS) == HOOKS


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented(hook: str) -> None:
    section = SECTIONS[hook]
    arguments = ", ".join(inspect.signature(getattr(hookspecs, hook)).parameters)
    assert section.startswith(f"### `{hook}({arguments})`\n")
    assert "\nCalled " in section
    (example,) = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    compile(example, hook, "exec")
    assert f"@hookimpl\ndef {hook}(" in example


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_test(hook: str) -> None:
    tests = (path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert any(re.search(rf"^(async )?def test_hook_{hook}\(", source, re.MULTILINE) for source in tests)


def test_every_kind_has_a_hook_and_a_property() -> None:
    assert sorted(f"ouro_register_{kind}" for kind in KINDS) == [h for h in HOOKS if h.startswith("ouro_register_")]
