"""A file on disk -> trained weights, whatever form they were saved in.

- ``read``: the entry points.
- ``files``: what kind of file it is.
- ``pickles``, ``programs``, ``huggingface``: how to read each kind.
- ``search``: where in the file the weights are.
- ``fit``: how to put them into a model.
- ``optimiser``: Adam's second moments.
"""

from landscape.checkpoint.optimiser import adam_moments
from landscape.checkpoint.read import (
    TASK_ARGS,
    Checkpoint,
    load_checkpoint,
    own_model,
    put_weights,
    read_checkpoint,
)

__all__ = ["TASK_ARGS", "Checkpoint", "adam_moments", "load_checkpoint", "own_model", "put_weights", "read_checkpoint"]
