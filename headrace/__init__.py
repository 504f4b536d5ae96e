"""What every stage agrees on: messages, identity, order. Imports no service."""
