"""What all HTML pages share: the template of a page that needs no other file, its style, and figures inside a page."""

from landscape.pages.environment import environment, script_hash
from landscape.pages.figures import as_svg, picture_data

__all__ = ["as_svg", "environment", "picture_data", "script_hash"]
