"""What to type to measure again what a file holds."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from landscape.reports.contents import Contents

_ONLY_TO_CONTINUE = ("--resume", "--overwrite")


@dataclass(frozen=True)
class Reproduction:
    """How to get the numbers again.

    Attributes:
        install: the command that installs the versions of packages that wrote the results.
        python: the version of Python that wrote them.
        commands: in the order in which they were typed.
        without: the results that were not made by a command.
    """

    install: str
    python: str
    commands: Sequence[str]
    without: Sequence[str]


def reproduction(contents: Contents) -> Reproduction | None:
    """Return how to measure the results of a file again; None if it holds nothing that can be read."""
    described = contents.about["results"]
    names = sorted(contents.results, key=lambda name: described[name]["created"])
    if not names:
        return None
    versions = described[names[-1]]["versions"]
    packages = {"landscape": "landscape-lab"}
    pins = [
        f"{packages.get(name, name)}=={str(pin).partition('+')[0]}"  # an index has no local version such as 2.6.0+cpu
        for name, pin in versions.items()
        if pin and name != "python"
    ]
    typed = {name: from_the_start(contents.config(name).get("command")) for name in names}
    return Reproduction(
        install=shlex.join(["pip", "install", *pins]),
        python=str(versions.get("python", "")),
        commands=list(dict.fromkeys(text for text in typed.values() if text is not None)),
        without=sorted(name for name, text in typed.items() if text is None),
    )


def from_the_start(command: object) -> str | None:
    """Return the command that measures from the start what a stored command continues; None if it is not one of ours.

    Every word is quoted again. So a file that somebody has prepared cannot make a reader paste another command.

    >>> from_the_start("landscape radius 'my net.pt' --out run.h5 --resume")
    "landscape radius 'my net.pt' --out run.h5"
    >>> from_the_start("landscape show run.h5; rm -r results")
    "landscape show 'run.h5;' rm -r results"
    """
    try:
        words = shlex.split(command) if isinstance(command, str) else []
    except ValueError:  # a quotation that does not end
        return None
    if words[:1] != ["landscape"]:
        return None
    return shlex.join(word for word in words if word not in _ONLY_TO_CONTINUE)
