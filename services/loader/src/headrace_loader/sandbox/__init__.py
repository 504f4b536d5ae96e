"""Parsing in child processes that can hurt nobody: the pool, the child, its bounds."""
