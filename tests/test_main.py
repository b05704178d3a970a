"""``python -m landscape`` is the command line."""

from __future__ import annotations

import subprocess
import sys

from landscape import __version__


def test_the_module_runs_the_command_line() -> None:
    done = subprocess.run([sys.executable, "-m", "landscape", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"landscape, version {__version__}"
