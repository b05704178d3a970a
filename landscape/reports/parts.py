"""The results of one file as the parts of a report: what belongs together stands together, and nothing is left out."""

from __future__ import annotations

from collections.abc import Mapping

from landscape.plots import figures_of, measures_by_step, pairs_beside
from landscape.ranking.page import is_of, ranking_section
from landscape.reports.blocks import Block, Part, Picture, shown_blocks
from landscape.reports.contents import Contents
from landscape.reports.pictures import Pictures
from landscape.reports.volumes import claims_of, volume_blocks
from landscape.results import Measure, NetMeasures, Radii, Ranking, Result, Runs, SharpnessTable, Snapshot, Volume
from landscape.results.best import best_volume, bodies
from landscape.results.snapshot import gaps, snapshots_table
from landscape.results.table import columns

#: what each kind of result is called, in the order of the page; any other kind goes by its own name, at the end
TITLES = {
    "ranking": "Which measures predict generalisation",
    "volume": "Log-volume of the basin",
    "radii": "Radius of the basin along random rays",
    "snapshot": "Along a training run",
    "measure": "Sharpness",
    "line": "Loss on a line",
    "plane": "Loss on a plane",
    "eigenpairs": "Eigenvalues",
    "trace": "Trace",
    "layer_traces": "Trace of each tensor",
    "diagonal": "Diagonal",
    "spectral_density": "Spectral density",
    "log_determinant": "Log-determinant",
    "runs": "The family of nets",
    "net": "Measures of each net",
    "hits": "Points counted in the ball of the cap",
    "islands": "Islands of annealed particles",
    "boundary": "Decision boundary",
    "embedding": "Checkpoints on a plane",
}


def parts_of(contents: Contents, prefix: str) -> list[Part]:
    """Return the parts of a file in the order of the page. Every readable result is in one of them.

    Args:
        contents: the file.
        prefix: unique to the file within the page: identifiers begin with it.
    """
    pictures = Pictures(prefix)
    results = contents.results
    parts = [
        *_rankings(results, prefix),
        *_volumes(results, pictures),
        *_training(results, pictures),
        *_sharpness(contents, pictures),
        *_nets(results),
    ]
    placed = {name for part in parts for name in part.names}
    parts += [_single(name, contents, pictures) for name in results if name not in placed]
    return sorted(parts, key=lambda part: _place(results[part.names[0]]))


def _place(result: Result) -> int:
    kind = "volume" if isinstance(result, Volume) else result.kind
    return list(TITLES).index(kind) if kind in TITLES else len(TITLES)


def _single(name: str, contents: Contents, pictures: Pictures) -> Part:
    """Return the part of one result that belongs to no other."""
    result = contents.results[name]
    title = TITLES.get("volume" if isinstance(result, Volume) else result.kind, result.kind)
    figures = figures_of(result, pairs_beside(result, contents.results))
    drawn = [pictures.draw(figure, short, title) for short, figure in figures.items()]
    notes = [*_unfinished(contents, name), *(result.notes if isinstance(result, Radii) else ())]
    blocks = [*shown_blocks(result, name), *([Block(notes=notes)] if notes else []), *_gallery(drawn)]
    return Part(title, result.brief, [name], blocks, verdict=str(getattr(result, "verdict", "")))


def _unfinished(contents: Contents, name: str) -> list[str]:
    """Say how much of a result is measured, if that is not all of it."""
    rows = contents.about["results"][name]["rows"]
    if rows is None or rows["done"] == rows["total"]:
        return []
    command = contents.config(name).get("command", "the command that began it, and --resume")
    return [f"unfinished: {rows['done']:,} of {rows['total']:,} are measured. Continue with: `{command}`"]


def _gallery(drawn: list[Picture]) -> list[Block]:
    return [Block(pictures=drawn)] if drawn else []


def _volumes(results: Mapping[str, Result], pictures: Pictures) -> list[Part]:
    """Return one part for each body that was measured, with all estimates of its volume."""
    parts = []
    for volumes in bodies(results):
        best = best_volume(volumes, "this file")
        title = TITLES["volume"] if best.density is None else f"Log-probability of the basin under {best.density}"
        verdicts = ", ".join(dict.fromkeys(row.verdict for row in best.results))
        blocks = volume_blocks(volumes, best, title, pictures)
        parts.append(Part(title, best.brief, list(volumes), blocks, verdicts, claims_of(best)))
    return parts


def _sharpness(contents: Contents, pictures: Pictures) -> list[Part]:
    """Return one part for each checkpoint whose sharpness was measured, and one for all of them against the step."""
    groups: dict[str, dict[str, Measure]] = {}
    for name, result in contents.results.items():
        if isinstance(result, Measure):
            groups.setdefault(str(result.config.get("checkpoint", "")), {})[name] = result
    parts = []
    for checkpoint, measures in groups.items():
        table = SharpnessTable({_short(name, measures): measure for name, measure in measures.items()})
        several = figures_of(table) if len(table) > 1 else {}
        figures = [(short, figure, "") for short, figure in several.items()]
        for measure in measures.values():
            if measure.chains is not None:
                figures += [(short, figure, measure.name) for short, figure in figures_of(measure).items()]
        drawn = [pictures.draw(figure, short, TITLES["measure"], about) for short, figure, about in figures]
        title = f"{TITLES['measure']} of {checkpoint}" if len(groups) > 1 else TITLES["measure"]
        parts.append(Part(title, _counted(measures), list(measures), [*shown_blocks(table, title), *_gallery(drawn)]))
    figure = measures_by_step({name: r for name, r in contents.results.items() if isinstance(r, Measure)})
    if figure is None:
        return parts
    names = [name for part in parts for name in part.names]
    title = "Sharpness against the training step"
    return [
        Part(title, f"{len(parts)} checkpoints", names, _gallery([pictures.draw(figure, "by step", title)])),
        *parts,
    ]


def _training(results: Mapping[str, Result], pictures: Pictures) -> list[Part]:
    """Return one part for all snapshots of a training run: a row per step, and each number against the step."""
    run = {name: result for name, result in results.items() if isinstance(result, Snapshot)}
    if len(run) < 2:
        return []
    title, notes = TITLES["snapshot"], gaps(run.values())
    figure = measures_by_step(run)
    blocks = [
        Block(table=snapshots_table(run.values()), label=title),
        *([Block(notes=notes)] if notes else []),
        *_gallery([] if figure is None else [pictures.draw(figure, "by step", title)]),
    ]
    return [Part(title, f"{len(run)} snapshots", list(run), blocks)]


def _counted(measures: Mapping[str, Measure]) -> str:
    failed = sum(measure.verdict == "failed" for measure in measures.values())
    few = f"{len(measures)} {'measure' if len(measures) == 1 else 'measures'}"
    return f"{few}, {failed} without a number" if failed else few


def _short(name: str, measures: Mapping[str, Measure]) -> str:
    """Return the name of a measure in a table: with its rho if the table has several."""
    measure = measures[name]
    alike = sum(other.name == measure.name for other in measures.values())
    rho = measure.config.get("rho")
    return f"{measure.name}@{rho:g}" if alike > 1 and isinstance(rho, int | float) else measure.name


def _rankings(results: Mapping[str, Result], prefix: str) -> list[Part]:
    """Return one part for each ranking of the table in the file; others are shown like any other result."""
    tables = [result for result in results.values() if isinstance(result, Runs)]
    rankings = {name: result for name, result in results.items() if isinstance(result, Ranking)}
    if len(tables) != 1:
        return []
    return [
        Part(
            f"Which measures predict the {ranking.target}",
            ranking.brief,
            [name],
            [Block(html=ranking_section(tables[0], ranking, level=4, prefix=f"{prefix}r{number}-"))],
        )
        for number, (name, ranking) in enumerate(rankings.items())
        if is_of(ranking, tables[0])
    ]


def _nets(results: Mapping[str, Result]) -> list[Part]:
    """Return the measures of all nets of a family as one table, a row per net."""
    nets = {name: result for name, result in results.items() if isinstance(result, NetMeasures)}
    if not nets:
        return []
    rows = [
        [
            net.net,
            ", ".join(f"{axis} {value}" for axis, value in net.axes.items()),
            net.seed,
            ", ".join(f"{name} {value:.4g}" for name, value in net.targets.items()),
            f"{len(net.measures) - list(net.verdicts).count('failed')} of {len(net.measures)}",
        ]
        for net in nets.values()
    ]
    heads = ["net", "axes", "seed", "targets", "measures with a number"]
    table = columns(heads, rows, left=heads[:-1])
    return [Part(TITLES["net"], f"{len(nets)} nets", list(nets), [Block(table=table, label=TITLES["net"])])]
