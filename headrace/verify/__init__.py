"""The oracle: is anything lost, visible twice, half there or left behind?

``Oracle`` reads the store, and where they are given the offsets, the dead letters, the
statuses and a ledger of what was accepted, and says what does not agree. It counts
chunk by chunk and never compares totals of topics: slices fan out and redeliveries
repeat. What it finds while records still wait may only be unfinished.
"""

from headrace.verify.documents import StoredSet, judge
from headrace.verify.findings import Finding, Kind, Report
from headrace.verify.oracle import Oracle
from headrace.verify.ports import (
    LedgerEntry,
    LettersReader,
    OffsetsReader,
    ParkedReader,
    PartitionOffsets,
    StatusReader,
)

__all__ = [
    "Finding",
    "Kind",
    "LedgerEntry",
    "LettersReader",
    "OffsetsReader",
    "Oracle",
    "ParkedReader",
    "PartitionOffsets",
    "Report",
    "StatusReader",
    "StoredSet",
    "judge",
]
