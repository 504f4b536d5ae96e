"""What every stage agrees on: messages, identity, order, delivery. Imports no service."""
