"""The embedder."""
