"""The command itself: its help, its exit codes, and what it must not import."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from helpers.children import Child, command
from landscape_cli import main
from landscape_cli.clock import elapsed
from landscape_cli.main import COMMANDS, cli


def landscape(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a fresh process."""
    line = [sys.executable, "-c", "from landscape_cli.main import main; main()", *words]
    return subprocess.run(line, capture_output=True, text=True)


def forked(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own that has imported everything."""
    with Child(command(*words), cwd=cwd) as process:
        printed, said = process.communicate()
    assert process.returncode is not None
    return subprocess.CompletedProcess(words, process.returncode, printed, said)


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS)], ids=" ".join)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        f"import sys; sys.argv = {['landscape', *words]}\n"
        "from landscape_cli.main import main\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'numpy', 'h5py', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")
    if words == ["--help"]:
        assert all(f"  {name} " in done.stdout for name in COMMANDS)


def test_help_answers_at_once() -> None:
    """Under 0.3 s of processor time from start to end, in the best of three."""
    seconds = []
    for _ in range(3):
        before = os.times()
        landscape("--help")
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert 0 < min(seconds) < 0.3


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_a_module_and_a_help(name: str) -> None:
    done = CliRunner().invoke(cli, [name, "--help"])
    assert done.exit_code == 0
    assert "--help" in done.output


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["volum", "ckpt.pt"], "Did you mean: landscape volume?"),
        (["frobnicate"], "The commands are volume, radius"),
        (["volume", "ckpt.pt", "--nope"], "No such option '--nope'"),
        (["train", "jelly-roll", "--out", "x.pt"], "there is no recipe 'jelly-roll'"),
        (["show", "missing.h5"], "missing.h5"),
    ],
)
def test_misuse_exits_2_and_begins_with_error(words: list[str], expected: str) -> None:
    done = forked(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_in_the_options_says_where_they_are_listed() -> None:
    lines = forked("volume", "ckpt.pt", "--nope").stderr.splitlines()
    assert lines[0].startswith("Error: No such option '--nope'")
    assert lines[-1].endswith("See: landscape volume --help")


def test_a_long_message_is_wrapped(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(b"x" * 100)
    lines = forked("volume", "net.pt", cwd=tmp_path).stderr.splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 80
    done = forked("volume", "net.pt", "--estimator", "laplace", "--directions", "3", cwd=tmp_path)
    lines = done.stderr.splitlines()
    assert lines[-1] == "See: landscape volume --help"
    assert max(map(len, lines)) <= 80


def test_a_bug_exits_1_with_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: broken)
    monkeypatch.setattr(sys, "argv", ["landscape", "show"])
    with pytest.raises(ZeroDivisionError):
        main.main()


def test_the_clock_stops_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a command that the same program calls later loses the time since then from its budget."""
    during: list[float] = []
    monkeypatch.setattr(
        main.LazyGroup, "get_command", lambda *_: click.Command("show", callback=lambda: during.append(elapsed()))
    )
    monkeypatch.setattr(sys, "argv", ["landscape", "show"])
    with pytest.raises(SystemExit, match="0"):
        main.main()
    assert during[0] > 0
    assert elapsed() == 0


def test_an_interrupt_exits_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def stopped() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: stopped)
    monkeypatch.setattr(sys, "argv", ["landscape", "show"])
    with pytest.raises(SystemExit) as done:
        main.main()
    assert done.value.code == 130
    assert capsys.readouterr().err == "Interrupted.\n"


def test_a_reader_that_has_enough_is_no_error() -> None:
    """As in ``landscape show run.h5 | head``: quiet, and not the exit code of a bug."""
    code = (
        "import sys, click; from landscape_cli import main\n"
        "chatty = click.Command('show', callback=lambda: [click.echo('x' * 999) for _ in range(2000)])\n"
        "main.LazyGroup.get_command = lambda *_: chatty\n"
        "sys.argv = ['landscape', 'show']; main.main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait() == 0
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is always full")
@pytest.mark.parametrize("buffered", [[], ["-u"]])
def test_a_full_output_is_one_line(buffered: list[str]) -> None:
    line = [sys.executable, *buffered, "-c", "from landscape_cli.main import main; main()", "--help"]
    given = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, env=given)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert "no space left on the output" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_full_disk_elsewhere_is_not_blamed_on_the_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    @click.command()
    def broken() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "net.pt")

    monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: broken)
    monkeypatch.setattr(sys, "argv", ["landscape", "show"])
    with pytest.raises(SystemExit, match="2"):
        main.main()
    assert capsys.readouterr().err == "Error: net.pt: No space left on device. Use another path.\n"


def test_version() -> None:
    done = landscape("--version")
    assert done.returncode == 0
    assert "landscape" in done.stdout


def test_without_a_command_the_help_is_shown_and_that_is_misuse() -> None:
    done = forked()
    assert done.returncode == 2
    told = CliRunner().invoke(cli, ["--help"], prog_name="landscape").stdout
    assert (done.stdout + done.stderr).split() == told.split()
