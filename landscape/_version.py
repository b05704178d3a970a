"""The version of landscape."""

__version__ = "0.1.0"
