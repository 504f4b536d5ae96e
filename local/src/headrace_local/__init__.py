"""The stack on one machine: broker, store, supervisor."""
