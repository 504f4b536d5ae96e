"""One module per kind of document, each yielding pieces in reading order.

Extractors run in a parser child, but for ``plain``. They read hostile input: they bound
what they read, resolve nothing outside the file, and may die.
"""
