"""Keep what other libraries say to their own users off stderr, where the command line speaks to its own."""

from __future__ import annotations

import os
import sys
import warnings

_LIBRARIES = ("torch", "transformers", "huggingface_hub", "timm", "torchvision", "peft", "landscape")
_SETTINGS = {
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}  #: environment variables that libraries read; those that the user has set stay


def quiet_libraries() -> None:
    """Silence the warnings and progress bars of the libraries; warnings in the user's own code stay.

    ``python -W`` and PYTHONWARNINGS show them all again. torch attributes the warnings of its kernels to whoever
    called it, so landscape is among the names.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if not sys.warnoptions:
        warnings.filterwarnings("ignore", module=rf"({'|'.join(_LIBRARIES)})(\.|$)")
