"""Log-volume of a basin: one file an estimator, one common result."""

from landscape.volume.annealed import annealed_volume, volume_from_chains
from landscape.volume.auto import auto_volume
from landscape.volume.caps import volumes_at_caps
from landscape.volume.chains import anneal
from landscape.volume.compare import best_volume, compare_volumes
from landscape.volume.estimate import log_volume
from landscape.volume.importance import importance_volume
from landscape.volume.laplace import laplace_volume
from landscape.volume.rollouts import radii_from_rollouts
from landscape.volume.uniform import volume_from_radii
from landscape.volume.weights import log_unit_ball

__all__ = [
    "anneal",
    "annealed_volume",
    "auto_volume",
    "best_volume",
    "compare_volumes",
    "importance_volume",
    "laplace_volume",
    "log_unit_ball",
    "log_volume",
    "radii_from_rollouts",
    "volume_from_chains",
    "volume_from_radii",
    "volumes_at_caps",
]
