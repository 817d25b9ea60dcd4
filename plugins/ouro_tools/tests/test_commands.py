"""The tools as commands of `ouro`."""

import os
import subprocess
import sys
from pathlib import Path


def test_ping_is_oping(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from ouro_tools.commands import ping; ping()", "-Q", "-n", "x"]
    env = {**os.environ, "OURO_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("FATAL: Could not announce to IRMd.")
