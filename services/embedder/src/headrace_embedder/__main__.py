"""``python -m headrace_embedder`` runs the embedder."""

from headrace import lifecycle
from headrace.messages import Stage
from headrace_embedder.app import build
from headrace_embedder.settings import EmbedderSettings

if __name__ == "__main__":
    lifecycle.main(Stage.EMBEDDER, EmbedderSettings, build)
