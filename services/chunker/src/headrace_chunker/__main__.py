"""``python -m headrace_chunker`` runs the chunker."""

from headrace import lifecycle
from headrace.messages import Stage
from headrace_chunker.app import build
from headrace_chunker.settings import ChunkerSettings

if __name__ == "__main__":
    lifecycle.main(Stage.CHUNKER, ChunkerSettings, build)
