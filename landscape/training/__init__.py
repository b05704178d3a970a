"""Training of any model, poisoned or not, which can be killed at any moment and resumed to the same bits.

=========================  =============================================================================
``poison.py``              the poison loss
``problem.py``             what is trained on what, and the members of a family
``settings.py``            phases, learning rates, and when to stop
``full_batch.py``          many small dense nets as one batched program, which ``stacked_nets.py`` lays out
``minibatch.py``           one network of any kind
``resumable.py``           the file that keeps an unfinished training
``trained_network.py``     the result of a training, and its checkpoint
``sweep.py``               a full factorial of axes with every seed, in one folder
``checks.py``              what every training refuses
=========================  =============================================================================
"""

from landscape.training.full_batch import FullBatchTraining
from landscape.training.minibatch import MinibatchTraining
from landscape.training.poison import poison_loss
from landscape.training.problem import Member, Problem
from landscape.training.resumable import ResumableTraining, StateFile
from landscape.training.settings import MinibatchSettings, Phase, Settings
from landscape.training.trained_network import TrainedNetwork, TrainingStatus, TrainingSummary

__all__ = [
    "FullBatchTraining",
    "Member",
    "MinibatchSettings",
    "MinibatchTraining",
    "Phase",
    "Problem",
    "ResumableTraining",
    "Settings",
    "StateFile",
    "TrainedNetwork",
    "TrainingStatus",
    "TrainingSummary",
    "poison_loss",
]
