"""The jinja2 environment of every page: the templates of a package, and the base that all of them extend."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from landscape._version import __version__


def environment(package: str) -> Environment:
    """Return an environment with the templates of a package and those shared by all pages.

    Every value is escaped. A name that a template does not get is an error.

    Args:
        package: such as ``"landscape.ranking"``; its folder ``templates`` holds the templates.
    """
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("landscape.pages")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["version"] = __version__
    return made


def script_hash(script: str) -> str:
    """Return what a page's content policy calls a script, so that no other script runs.

    >>> script_hash("")
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
    """
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"
