"""The sections of docs/sharpness.md on families of nets: sign errors have columns if there are any."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.sharpness_findings import section
from helpers.every_kind import RANKING


def test_a_row_holds_the_sign_errors_of_its_measure() -> None:
    lines = section(RANKING)
    heads, rows = lines[2].split(" | "), lines[4 : 4 + len(RANKING.measures)]
    place = heads.index("sign error")
    assert heads[place : place + 3] == ["sign error", "90th", "worst"]
    for row, measure in zip(rows, RANKING.order, strict=True):
        cells = row.split(" | ")
        assert len(cells) == len(heads)
        assert float(cells[place]) == pytest.approx(RANKING.estimate("sign-error", RANKING.measures[measure]), abs=5e-3)
        assert float(cells[place + 2]) == pytest.approx(RANKING.sign_error_largest[measure], abs=5e-3)


def test_without_environments_there_are_no_such_columns() -> None:
    none = replace(RANKING, sign_errors=np.zeros((0, 2)), sign_error_axis=np.zeros(0, dtype=int))
    assert "sign error" not in "\n".join(section(none)[:3])
