"""OURO_STRICT: a daemon with a broken plugin does not start, and says so once."""

import os
import subprocess
import sys
from pathlib import Path


def test_a_broken_plugin_is_one_line(tmp_path: Path) -> None:
    info = tmp_path / "site" / "broken-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[ouro]\nbroken = broken_plugin\n")
    (tmp_path / "site" / "broken_plugin.py").write_text("raise RuntimeError('boom')\n")
    runtime = tmp_path / "run"
    environment = {
        **os.environ, "OURO_STRICT": "1", "OURO_RUNTIME_DIR": str(runtime), "PYTHONPATH": str(tmp_path / "site"),
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "ouro_core.cli", "irmd"], stderr=subprocess.PIPE, text=True, env=environment
    ) as daemon:
        _, said = daemon.communicate(timeout=60)  # to the end of the zygote, too, which writes to the same pipe
    assert daemon.returncode == 1
    (line,) = said.splitlines()
    assert line.endswith('irmd(EE): plugin "broken" (broken 1) is broken: RuntimeError: boom')
