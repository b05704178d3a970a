"""The bodies by name: a family, then its numbers, n first: ``halfcut50``, ``off-centre20,30,0.6``.

``off-centre20,30,0.6@3`` is the same body under a cap of 3, which must lie beyond all of it.
"""

from __future__ import annotations

import re
from dataclasses import replace

from benchmarks.bodies import curved, ellipsoids, off_centre, polytopes, spikes, walls
from benchmarks.bodies.body import Body, Family
from landscape.errors import LandscapeError

KINDS: dict[str, dict[str, Family]] = {
    "ellipsoids": ellipsoids.FAMILIES,
    "off centre": off_centre.FAMILIES,
    "walls": walls.FAMILIES,
    "polytopes": polytopes.FAMILIES,
    "curved": curved.FAMILIES,
    "spikes": spikes.FAMILIES,
}


def build(name: str) -> Body:
    """Return the body of a name, which need not be in the catalogue.

    Raises:
        LandscapeError: if there is no such family.

    >>> body = build("cube3")
    >>> body.n, body.kind, round(body.truth, 6)  # 2^3
    (3, 'polytopes', 2.079442)
    """
    match = re.fullmatch(r"([a-z-]+)([\d.]+(?:,[\d.]+)*)(?:@([\d.]+))?", name)
    for kind, families in KINDS.items():
        if match and match[1] in families:
            numbers = [float(number) if "." in number else int(number) for number in match[2].split(",")]
            body = families[match[1]](*numbers)
            return replace(body, name=name, kind=kind, max_radius=float(match[3] or body.max_radius))
    known = ", ".join(family for families in KINDS.values() for family in families)
    raise LandscapeError(f"there is no body {name!r}. Pass a family and its numbers, n first. The families: {known}.")


def _simple(n: int) -> tuple[str, ...]:
    """Return the simple bodies in n dimensions, with the spike and the room only where chains can find them."""
    names = (f"ellipsoid{n}", f"lp{n},1", f"lp{n},4", f"lp{n},8", f"simplex{n}", f"box{n}", f"slab{n}")
    return (*names, *((f"spike{n}", f"room{n}") if n <= 10 else ()))


#: what is measured by default
CATALOGUE = (
    *(name for n in (3, 5, 10, 50) for name in _simple(n)),
    *(f"ellipsoid{n}" for n in (500, 2000)),
    "decades1000,8",
    *("cylinder20,10,0.05", "cylinder100,50,0.05", "cylinder100,10,0.01", "cylinder400,100,0.1"),
    *(
        f"off-centre{n},{condition},{offset}"
        for n in (20, 50, 200, 1000)
        for condition in (1, 30, 1000)
        for offset in (0.3, 0.6, 0.9)
    ),
    "off-centre40,100,0.7",
    "off-centre48,200,0.75",
    *("off-centre-squared20,1000,0.6", "off-centre-squared200,30,0.8", "off-centre-squared1000,30,0.6"),
    *("off-centre-log50,1000,0.3", "off-centre-log200,30,0.8", "off-centre-log1000,30,0.6"),
    *("off-centre-cut30,2,100,0.5", "off-centre-cut60,10,100,0.7", "off-centre-cut100,1,100,0.7"),
    *("off-centre-lp20,4,100,0.6", "off-centre-lp100,4,30,0.7"),
    *("off-centre20,30,0.6@3", "off-centre200,30,0.8@3", "off-centre200,1000,0.8@30", "off-centre-log200,30,0.8@3"),
    *("off-centre-lp100,4,30,0.7@3", "off-centre-lp100,4,30,0.7@20", "lens50,0.6", "lens200,0.8"),
    *("slabs200", "wedge30", "halfcut50", "halfmild50"),
    *("lp20,0.7", "lp50,0.7", "cross-polytope30", "cube50", "cube200"),
    *(f"cube{n},{condition}" for n in (60, 100) for condition in (100, 1000)),
    *("funnel20", "funnel100", "two-balls40,10,0.01", "two-balls200,200,0.001", "linear-net2", "linear-net5"),
    *("spikes6,0.2,0.8", "spikes10,0.3,0.9"),
)
