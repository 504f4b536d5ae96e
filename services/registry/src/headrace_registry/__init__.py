"""The memory of the pipeline: what became of each document, in SQL."""
