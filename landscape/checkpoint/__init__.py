"""A file on disk -> trained weights, whatever form they were saved in.

``files`` tells what a file is, ``pickles`` and ``programs`` read it, ``search`` finds the weights inside, ``fit`` puts
them into a model, ``huggingface`` knows that project's folders.
"""

from landscape.checkpoint.optimiser import adam_moments
from landscape.checkpoint.read import (
    Checkpoint,
    load_checkpoint,
    own_model,
    put_weights,
    read_checkpoint,
)

__all__ = ["Checkpoint", "adam_moments", "load_checkpoint", "own_model", "put_weights", "read_checkpoint"]
