"""The vector store of one machine: Qdrant Edge behind a part of Qdrant's gRPC API.

``python -m headrace_local.store --data-dir DIR --port PORT`` runs it. docs/store.md
says what it offers; whatever it does not offer it refuses by name.
"""
