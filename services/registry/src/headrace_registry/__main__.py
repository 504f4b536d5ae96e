"""``python -m headrace_registry`` runs the registry, ``... rebuild`` makes it again."""

import argparse

from headrace_registry.app import main, rebuild_main

if __name__ == "__main__":
    parser = argparse.ArgumentParser("python -m headrace_registry", description=__doc__)
    parser.add_argument(
        "command",
        nargs="?",
        choices=["run", "rebuild"],
        default="run",
        help="run until SIGTERM, or read all of the status topic into SQL again",
    )
    if parser.parse_args().command == "rebuild":
        rebuild_main()
    main()
