"""Finds misspelt settings among the environment's variables. Pure: no I/O.

A name that nobody reads is no error: it may be another version's, or, where services
bear our name, one that Kubernetes makes. So only names much like one of ours are told.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from headrace.setting_names import NAMES

_PREFIX = "HEADRACE_"
_LIKENESS = 0.8


def misspelt(names: Iterable[str]) -> dict[str, str]:
    """What was probably meant, by the unknown name."""
    known = [name.removeprefix(_PREFIX) for name in sorted(NAMES)]
    found: dict[str, str] = {}
    for name in sorted(names):
        upper = name.upper()
        if not upper.startswith(_PREFIX) or upper in NAMES:
            continue
        rest = upper.removeprefix(_PREFIX)
        nearest = get_close_matches(rest, known, n=1, cutoff=_LIKENESS)
        if nearest:
            found[name] = _PREFIX + nearest[0]
    return found
