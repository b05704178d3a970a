"""The settings of the study: which nets are trained, and how each of them is measured."""

from __future__ import annotations

from dataclasses import dataclass, replace

from landscape.training import Member

SWISS_ROLL = "swiss-roll"
IMAGES = ("mnist", "fashion-mnist", "cifar10", "svhn")  #: recipes of the study on images


@dataclass(frozen=True)
class Study:
    """The settings of the study.

    Attributes:
        recipe: what is trained.
        factors: poison factors, ascending, the first 0.
        seeds: nets per factor, seeds 0 to seeds - 1.
        poisoned_steps: largest number of steps of a training with poison; None takes the recipe's own number.
        plain_steps: the same for a training without poison.
        map_pixels: points along each side of a map of the decision boundary.
        plane_points: points along each side of a plane of losses.
        span: how far the plane reaches, in filter-normalised units.
        frames: frames per animation, an odd number.
        frame_pixels: points along each side of the map of the boundary in a frame.
        branch_points: checkpoints of one good run; from each, one training continues with poison and one without.
        fine_tuning_steps: steps of those trainings with poison.
        rays: random rays, the same ones for every net.
        cutoffs: losses that bound the basin, ascending.
        annealed: factors whose net of seed 0 also gets an annealed volume at the first cutoff, minutes per net.
        annealing_passes: what it may cost, full passes over the data.
        probes: probes of the trace.
        samples: losses are measured on the first ``samples`` training samples; None takes all.
    """

    recipe: str = SWISS_ROLL
    factors: tuple[float, ...] = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
    seeds: int = 5
    poisoned_steps: int | None = None
    plain_steps: int | None = None
    map_pixels: int = 401
    plane_points: int = 101
    span: float = 0.5
    frames: int = 101
    frame_pixels: int = 161
    branch_points: int = 12
    fine_tuning_steps: int = 40_000
    rays: int = 1000
    cutoffs: tuple[float, ...] = (0.1, 0.5, 1.0)
    annealed: tuple[float, ...] = (0.0, 0.5)
    annealing_passes: int = 2_000_000
    probes: int = 100
    samples: int | None = None

    @property
    def planar(self) -> bool:
        """Whether the inputs are points of the plane, so that a decision boundary can be drawn."""
        return self.recipe == SWISS_ROLL

    @property
    def options(self) -> str:
        """The options that a command needs to measure a net as the study does."""
        return "" if self.samples is None else f" --max-samples {self.samples}"

    @property
    def members(self) -> list[Member]:
        """Every net of the study."""
        return [Member(seed, poison) for poison in self.factors for seed in range(self.seeds)]


FULL = Study()
QUICK = Study(
    factors=(0.0, 0.01, 0.05, 0.2),
    seeds=1,
    poisoned_steps=24_000,
    map_pixels=201,
    plane_points=41,
    frames=51,
    frame_pixels=121,
    branch_points=6,
    fine_tuning_steps=24_000,
    rays=100,
    annealed=(),
    probes=20,
)
FULL_IMAGES = Study(
    recipe="mnist",
    factors=(0.0, 0.003, 0.01, 0.03, 0.1, 0.3),
    seeds=2,
    plane_points=21,
    rays=50,
    annealed=(),
    probes=10,
)
QUICK_IMAGES = replace(FULL_IMAGES, factors=(0.0, 0.03, 0.3), seeds=1, plane_points=11, rays=20, probes=5, samples=500)
