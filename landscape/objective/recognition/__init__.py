"""What a loss does not say, found out on the first batch: what it takes predictions for, and what it divides by."""
