"""``python -m headrace_registry`` runs the registry."""

from headrace_registry.app import main

if __name__ == "__main__":
    main()
