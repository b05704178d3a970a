"""JSON that every reader of JSON understands."""

from __future__ import annotations

import pytest

from landscape_cli.machine_output import strict_json


def test_json_refuses_what_json_has_no_word_for() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        strict_json({"radius": float("nan")})
