"""Products with second derivatives from graphs that autograd recorded once."""
