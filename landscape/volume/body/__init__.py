"""The basin of one cutoff as a star-shaped body, with the coordinates of its directions; estimators measure it."""
