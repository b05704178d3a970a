"""The commands of ``landscape``, one file each."""
