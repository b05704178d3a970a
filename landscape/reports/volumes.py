"""The part of a report about a volume: the sentences to quote first, then all that speaks for or against them."""

from __future__ import annotations

from collections.abc import Mapping

from landscape.plots import figures_of, volumes_by_estimator
from landscape.reports.blocks import Block, Claim, Picture, table_blocks
from landscape.reports.pictures import Pictures
from landscape.results import Volume
from landscape.results.best import estimates_table
from landscape.results.table import columns
from landscape.results.volume_words import RESOLUTION, main_table


def volume_blocks(volumes: Mapping[str, Volume], best: Volume, title: str, pictures: Pictures) -> list[Block]:
    """Return the blocks about the estimates of one body.

    Args:
        volumes: the estimates by name.
        best: the best of them at each cutoff.
        title: of the part.
        pictures: turns figures into pictures of the page.
    """
    own = [
        (f"{volume.estimator}: " if len(volumes) > 1 else "") + note
        for volume in volumes.values()
        for note in volume.notes
    ]
    return [
        Block(text=f"{best.quantity[0].upper()}{best.quantity[1:]}."),
        Block(table=main_table(best.results, best.body), label="The best estimate at each cutoff"),
        Block(text=RESOLUTION[0].upper() + RESOLUTION[1:]),
        Block(table=estimates_table(volumes), label="Every estimate, the best first"),
        *_conditions(best),
        *(block for volume in volumes.values() for block in table_blocks(volume.evidence(), _evidence(volume))),
        Block(notes=list(dict.fromkeys(own))),
        Block(pictures=_pictures(volumes, title, pictures)),
    ]


def claims_of(best: Volume) -> list[Claim]:
    """Return the sentences to quote."""
    return [Claim(row.verdict, row.report) for row in best.results]


def _evidence(volume: Volume) -> str:
    return f"Evidence of the estimator {volume.estimator}"


def _conditions(best: Volume) -> list[Block]:
    """Return the conditions of each verdict, met or not, as one table."""
    rows = [
        [f"{row.cutoff:g}", "met" if check.met else "not met", check.words]
        for row in best.results
        for check in row.checks
    ]
    heads = ["cutoff", "condition", "what was found"]
    return [Block(table=columns(heads, rows, left=heads[1:]), label="Conditions of the verdicts")] if rows else []


def _pictures(volumes: Mapping[str, Volume], title: str, pictures: Pictures) -> list[Picture]:
    drawn = [pictures.draw(volumes_by_estimator(volumes), "volumes", title)] if len(volumes) > 1 else []
    for volume in volumes.values():
        for short, figure in figures_of(volume).items():
            if short != "volume" or len(volumes) == 1:
                drawn.append(pictures.draw(figure, short, title, volume.estimator))
    return drawn
