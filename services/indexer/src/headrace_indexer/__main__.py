"""``python -m headrace_indexer`` runs the indexer."""

from headrace.lifecycle import main
from headrace.messages import Stage
from headrace_indexer.app import build
from headrace_indexer.settings import IndexerSettings

if __name__ == "__main__":
    main(Stage.INDEXER, IndexerSettings, build)
