"""What a user gives beside a checkpoint: a task, a data file, or code of their own."""

from landscape.inputs.data_file import load_data
from landscape.inputs.task import Task

__all__ = ["Task", "load_data"]
