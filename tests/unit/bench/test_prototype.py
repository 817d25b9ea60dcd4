"""How the C prototype is found among programs of the same names."""

from pathlib import Path

import pytest

from tests.bench.prototype import Missing, elf_program, find

ELF = b"\x7fELF and more"
SCRIPT = b"#!/usr/bin/python\n"


def program(directory: Path, name: str, content: bytes, mode: int = 0o755) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_scripts_are_passed_over(tmp_path: Path) -> None:
    program(tmp_path / "ours", "irmd", SCRIPT)
    theirs = program(tmp_path / "theirs", "irmd", ELF)
    assert elf_program("irmd", f"{tmp_path}/ours:{tmp_path}/absent::{tmp_path}/theirs") == theirs


@pytest.mark.parametrize(("content", "mode"), [(SCRIPT, 0o755), (b"", 0o755), (ELF, 0o644)])
def test_what_is_no_program_of_the_prototype(tmp_path: Path, content: bytes, mode: int) -> None:
    program(tmp_path, "irmd", content, mode)
    (tmp_path / "sub" / "irmd").mkdir(parents=True)
    assert elf_program("irmd", f"{tmp_path}:{tmp_path}/sub") is None


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    program(tmp_path, "irmd", ELF)
    with pytest.raises(Missing, match="no C irm, oping on PATH"):
        find(str(tmp_path))


def test_the_daemon_needs_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = {name: program(tmp_path, name, ELF) for name in ("irmd", "irm", "oping")}
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(Missing, match="root"):
        find(str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert find(str(tmp_path)) == programs
