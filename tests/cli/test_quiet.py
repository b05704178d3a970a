"""Warnings of the libraries stay off stderr; those of the user's code and those asked for do not."""

from __future__ import annotations

import os
import sys
import warnings

import pytest

from landscape_cli import quiet


def warned(module: str) -> bool:
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        quiet.quiet_libraries()
        warnings.warn_explicit("words", UserWarning, "file.py", 1, module=module, registry={})
    return bool(caught)


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in quiet._SETTINGS:
        monkeypatch.setenv(name, "")  # so that the old value comes back
        monkeypatch.delenv(name)


@pytest.mark.parametrize("module", ["torch", "torch.nn.functional", "transformers.models.gpt2", "landscape.objective"])
def test_libraries_are_silent(module, monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", [])
    assert not warned(module)
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    assert warned(module)


@pytest.mark.parametrize("module", ["my_task", "torchy", "my.torch"])
def test_the_users_code_is_heard(module, monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", [])
    assert warned(module)


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "info")
    quiet.quiet_libraries()
    assert os.environ["TRANSFORMERS_VERBOSITY"] == "info"
    assert os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] == "1"
