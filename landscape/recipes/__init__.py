"""The named data sets and networks: a recipe gives the data, the network and how it is trained.

``registry.py`` holds the names; ``swiss_roll.py``, ``digits.py``, ``images.py`` (with ``image_files.py`` and
``resnet.py``) and ``task_file.py`` are the recipes.
"""

from landscape.recipes.registry import RECIPES, RECORD, load_recipe, recipe_keywords, task_from_record, train_swiss_roll

__all__ = ["RECIPES", "RECORD", "load_recipe", "recipe_keywords", "task_from_record", "train_swiss_roll"]
