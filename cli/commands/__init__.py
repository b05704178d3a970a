"""The commands of ``landscape``, one file each: its options, and a function with a few calls.

What those calls need is imported inside the function, so that ``--help`` answers without loading torch or numpy.
"""
