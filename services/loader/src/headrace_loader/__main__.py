"""Runs the loader: ``python -m headrace_loader``."""

from headrace.lifecycle import main
from headrace.messages import Stage
from headrace_loader.app import build
from headrace_loader.settings import LoaderSettings

if __name__ == "__main__":
    main(Stage.LOADER, LoaderSettings, build)
