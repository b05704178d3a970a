"""Log-volume of a basin: one file for each estimator, one common result."""

from landscape.results.best import best_volume
from landscape.volume.annealed import annealed_volume, volume_from_islands
from landscape.volume.annealing.run import run_islands
from landscape.volume.auto import auto_volume
from landscape.volume.compare import compare_volumes
from landscape.volume.count_hits import count_hits
from landscape.volume.counted import counted_volume, volume_of_hits
from landscape.volume.estimate import log_volume
from landscape.volume.importance import importance_volume
from landscape.volume.laplace import laplace_volume
from landscape.volume.ray_weights.mean import volume_from_radii
from landscape.volume.ray_weights.statistics import log_unit_ball
from landscape.volume.rollouts import radii_from_rollouts

__all__ = [
    "annealed_volume",
    "auto_volume",
    "best_volume",
    "compare_volumes",
    "count_hits",
    "counted_volume",
    "importance_volume",
    "laplace_volume",
    "log_unit_ball",
    "log_volume",
    "radii_from_rollouts",
    "run_islands",
    "volume_from_islands",
    "volume_from_radii",
    "volume_of_hits",
]
