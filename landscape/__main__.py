"""``python -m landscape``: the command line, for a Python whose scripts are not on the PATH."""

import importlib

if __name__ == "__main__":  # processes that a run starts import this module under another name
    # by name, because the library must not depend on the command line: only this entry point knows it
    importlib.import_module("landscape_cli.main").main()
