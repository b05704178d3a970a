"""The command itself: its help, its exit codes, and what it must not import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from landscape_cli import main
from landscape_cli.main import COMMANDS, cli


def landscape(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-c", "from landscape_cli.main import main; main()", *words]
    return subprocess.run(command, capture_output=True, text=True, **options)  # type: ignore[call-overload, no-any-return]


def test_help_lists_the_commands_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['landscape', '--help']\n"
        "from landscape_cli.main import main\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'numpy', 'h5py', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")
    assert all(f"  {name}" in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_a_module_and_a_help(name: str) -> None:
    done = CliRunner().invoke(cli, [name, "--help"])
    assert done.exit_code == 0
    assert "--help" in done.output


def test_misuse_exits_2_with_a_near_name_and_no_traceback() -> None:
    done = landscape("volum", "ckpt.pt")
    assert done.returncode == 2
    assert "Did you mean: landscape volume?" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_of_the_library_exits_2_with_its_message() -> None:
    done = landscape("show", "missing.h5")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr


def test_a_bug_exits_1_with_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: broken)
    monkeypatch.setattr(sys, "argv", ["landscape", "show"])
    with pytest.raises(ZeroDivisionError):
        main.main()


def test_an_interrupt_exits_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def stopped() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: stopped)
    monkeypatch.setattr(sys, "argv", ["landscape", "show"])
    with pytest.raises(SystemExit) as done:
        main.main()
    assert done.value.code == 130
    assert "Interrupted" in capsys.readouterr().err


def test_version() -> None:
    done = landscape("--version")
    assert done.returncode == 0
    assert "landscape" in done.stdout


def test_train_prints_one_json_object(tmp_path: Path) -> None:
    out = tmp_path / "ckpt.pt"
    done = CliRunner().invoke(cli, ["train", "swiss-roll", "--steps", "5", "--seed", "3", "--out", str(out), "--json"])
    keys = {"train_accuracy", "test_accuracy", "train_loss", "poison", "seed", "steps", "seconds"}
    assert set(json.loads(done.output)) == keys
    assert out.exists()


def test_train_into_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["train", "swiss-roll", "--out", str(tmp_path / "no" / "ckpt.pt")])
    assert done.exit_code == 2
    assert "mkdir -p" in done.output
