"""The HTTP front door of the pipeline."""
