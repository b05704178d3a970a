"""Checks that run once before a curvature is returned: whether autograd differentiates the loss that is measured."""
