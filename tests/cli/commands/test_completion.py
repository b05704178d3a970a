"""``landscape completion``: what a shell needs to complete names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.commands import MAIN, run


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_asks_landscape(shell: str) -> None:
    printed = run(f"completion {shell}").stdout
    assert "_LANDSCAPE_COMPLETE" in printed
    assert "landscape" in printed


def test_commands_and_options_are_completed() -> None:
    def completed(words: str) -> list[str]:
        asked = {"_LANDSCAPE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
        done = subprocess.run(
            [sys.executable, "-c", MAIN], env=os.environ | asked, capture_output=True, text=True, check=True
        )
        return [line.partition(",")[2] for line in done.stdout.split()]

    assert completed("landscape vol") == ["volume"]
    assert "--cutoff" in completed("landscape volume --cu")


@pytest.mark.parametrize(
    ("shell", "file", "line"),
    [
        ("bash", ".bashrc", 'eval "$(landscape completion bash)"'),
        ("zsh", ".zshrc", 'eval "$(landscape completion zsh)"'),
        ("fish", ".config/fish/completions/landscape.fish", "landscape completion fish | source"),
    ],
)
def test_it_is_installed_once(
    shell: str, file: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / file
    if shell == "bash":
        path.write_bytes(b"alias l=ls  # caf\xe9, no line break at the end")
    assert f"wrote {path}" in run(f"completion {shell} --install").stdout
    once = path.read_bytes()
    assert once.count(line.encode()) == 1
    assert once.endswith(line.encode() + b"\n")
    assert b"caf\xe9, no line break at the end\n" in once or shell != "bash"
    assert "already" in run(f"completion {shell} --install").stdout
    assert path.read_bytes() == once
