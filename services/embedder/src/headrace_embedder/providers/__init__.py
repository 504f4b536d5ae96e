"""Models behind one port; the gateway and the CLI embed queries with them too."""

from headrace_embedder.providers.port import EmbeddingProvider, Rejected, Unclear

__all__ = ["EmbeddingProvider", "Rejected", "Unclear"]
