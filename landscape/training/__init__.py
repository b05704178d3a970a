"""Training of any model, poisoned or not, that can be stopped and continued."""
