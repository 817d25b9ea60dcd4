"""The proof that a plugin is an ordinary distribution: installed, listed, used and uninstalled in a fresh environment.

That environment needs no network: the libraries that Ouro, the build and the tests need are linked from
this one, and are all it has besides what pip installs there.
"""

import json
import os
import shutil
import subprocess
import venv
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs/examples/ouro-example-ipcp"
LIBRARIES = (
    "pluggy",
    "attrs",
    "cryptography",
    "protobuf",
    "click",
    "pip",
    "setuptools",
    "wheel",
    "pytest",
    "pytest-asyncio",
)
LONG = 300.0

Done: TypeAlias = "subprocess.CompletedProcess[str]"

pytestmark = pytest.mark.timeout(2 * LONG)


def with_dependencies(names: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            needs = map(Requirement, distribution(name).requires or ())
            waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


def link_libraries(target: Path) -> None:
    """Everything at the top of what these distributions installed, and nothing else of this environment."""
    target.mkdir()
    for name in with_dependencies(LIBRARIES):
        library = distribution(name)
        for top in {file.parts[0] for file in library.files or ()} - {"..", "__pycache__"}:
            link = target / top
            if not link.exists() and not top.endswith(".pth"):
                link.symlink_to(Path(str(library.locate_file(top))).resolve())


class Environment:
    """A virtual environment with the core in it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        venv.create(home / "venv")
        self.python = home / "venv/bin/python"
        link_libraries(home / "libraries")
        (site,) = (home / "venv/lib").glob("python*/site-packages")
        (site / "libraries.pth").write_text(f"{home / 'libraries'}\n")

    def run(self, *words: str | Path, expect: int = 0, cwd: Path | None = None) -> Done:
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "OURO_", "PIP_", "VIRTUAL_"))}
        environ |= {"HOME": str(self.home), "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}
        environ |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        words = tuple(map(str, words))
        done = subprocess.run(
            words, env=environ, cwd=cwd or self.home, capture_output=True, text=True, timeout=LONG, check=False
        )
        assert done.returncode == expect, f"{words} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def install(self, project: Path) -> None:
        """From a copy: building leaves files in the source."""
        copy = self.home / "build" / project.name
        shutil.copytree(project, copy)
        self.run(self.python, "-m", "pip", "install", "--no-deps", "--no-build-isolation", copy)

    def uninstall(self, name: str) -> None:
        self.run(self.python, "-m", "pip", "uninstall", "--yes", name)

    def ouro(self, *words: str, expect: int = 0) -> str:
        return self.run(self.home / "venv/bin/ouro", *words, expect=expect).stdout

    def demo(self, expect: int = 0) -> Done:
        return self.run(self.python, "-X", "dev", EXAMPLE / "demo.py", expect=expect)

    def plugins(self) -> dict[str, Any]:
        return {p["name"]: p for p in json.loads(self.ouro("plugins", "list", "--json"))}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    made = Environment(tmp_path_factory.mktemp("third-party"))
    core = made.home / "core"
    core.mkdir()
    shutil.copytree(ROOT / "ouro_core", core / "ouro_core", ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, core)
    made.install(core)
    return made


def write_broken(project: Path) -> Path:
    (project / "ouro_broken").mkdir(parents=True)
    (project / "ouro_broken/__init__.py").write_text("import sys\nprint('noise')\nsys.exit('I always end like this')\n")
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n\n'
        '[project]\nname = "ouro-broken"\nversion = "6.6"\n\n'
        '[project.entry-points.ouro]\nbroken = "ouro_broken"\n'
    )
    return project


def test_a_plugin_comes_works_and_goes(environment: Environment) -> None:
    assert "metered" not in environment.plugins()
    environment.install(EXAMPLE)
    listed = environment.plugins()["metered"]
    assert listed["distribution"] == "ouro-example-ipcp"
    assert listed["version"] == "0.1.0"
    assert listed["state"] == "loaded"
    assert listed["registered"] == {"ipcp_types": ["metered"]}

    environment.install(write_broken(environment.home / "broken"))
    found = environment.plugins()
    assert found["metered"] == listed
    assert found["broken"]["state"] == "broken"
    assert found["broken"]["error"] == "SystemExit: I always end like this"
    assert (found["broken"]["distribution"], found["broken"]["version"]) == ("ouro-broken", "6.6")
    assert "I always end like this" in environment.ouro("plugins", "check", expect=1)

    output = environment.demo().stdout
    seen = json.loads(output[output.index("{") :])  # the broken plugin has its say first
    assert seen["refusal"].startswith("this layer carries 1 flows at a time")
    (counted,) = seen["counted"].values()
    assert (counted["packets_received"], counted["bytes_received"]) == (50, 200)
    assert counted["packets_sent"] in (50, 51)  # the relay may not have seen the last one yet
    assert seen["received"] == ["last words"]

    environment.uninstall("ouro-broken")

    environment.run(environment.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=EXAMPLE)

    environment.uninstall("ouro-example-ipcp")
    assert 'no IPCP type is called "metered"; known: local' in environment.demo(expect=1).stderr
    assert "metered" not in environment.plugins()
    assert set(environment.plugins()) == set(found) - {"metered", "broken"}
