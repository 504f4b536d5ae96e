"""One file for each step, numbered; each names the one before it."""
