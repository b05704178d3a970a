"""What a user gives together with a checkpoint: a task, a data file, or their own code."""

from landscape.inputs.data_file import load_data, read_data_file
from landscape.inputs.task import Task

__all__ = ["Task", "load_data", "read_data_file"]
