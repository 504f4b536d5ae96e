"""One file per command: its arguments, and a call to the module that does the work.

The work is imported inside the function: a command pays only for what it uses, and
``headrace --help`` for nothing.
"""
