"""How results print themselves: aligned columns, log-volumes and shares."""

from __future__ import annotations

from collections.abc import Sequence


def columns(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an aligned table, cells to the right; what shall stand to the left comes padded.

    >>> print(columns(["cutoff", "ess"], [["0.1", "812.0"], ["10", "1.0"]]))
    cutoff    ess
       0.1  812.0
        10    1.0
    """
    lines = [headers, *rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def decimal(value: float) -> str:
    """Return a log-volume with two decimals, or none from 10,000 on, where they carry nothing.

    >>> decimal(-3593.551), decimal(-125493.2), decimal(float("inf"))
    ('-3,593.55', '-125,493', 'inf')
    """
    return f"{value:,.2f}" if abs(value) < 1e4 else f"{value:,.0f}"


def percent(share: float) -> str:
    """Return a share in per cent, never rounding a rare case to nothing or all.

    >>> percent(0.25), percent(0.0), percent(0.0001), percent(0.9999)
    ('25.0 %', '0.0 %', '<0.1 %', '>99.9 %')
    """
    if 0 < share < 0.0005:
        return "<0.1 %"
    return ">99.9 %" if 0.9995 <= share < 1 else f"{share:.1%}".replace("%", " %")
