"""CPU of splitting documents, beside the cost of counting their tokens once.

``python benchmarks/chunking.py [FILE…]`` splits the files, or the corpus where none is
given, in every encoding asked for, and prints for each the least and the median of
several rounds. "Counting" is what the bare tokenizer takes for the same text in pieces
of 64 KiB, measured in the same rounds: no splitter that knows its counts can be below.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from corpus import text_files
from headrace_chunker.splitting import split
from headrace_chunker.tokenizers import Tokenizer, load_tokenizer

from headrace.fingerprint import ChunkingSettings
from headrace.messages import TextPart

PART = 64 * 1024


@dataclass(frozen=True, slots=True)
class Work:
    """What one round does."""

    documents: list[tuple[str, str]]
    tokenizer: Tokenizer
    settings: ChunkingSettings


def parts(text: str) -> Iterator[TextPart]:
    return (TextPart(text[at : at + PART]) for at in range(0, len(text), PART))


def split_all(work: Work) -> tuple[int, int]:
    chunks = tokens = 0
    for name, text in work.documents:
        for chunk in split(
            parts(text),
            media_type="",
            name=name,
            settings=work.settings,
            tokenizer=work.tokenizer,
        ):
            chunks += 1
            tokens += chunk.token_count
    return chunks, tokens


def count_all(work: Work) -> int:
    return sum(
        work.tokenizer.count(part.text)
        for _, text in work.documents
        for part in parts(text)
    )


def cpu_seconds(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


def report(work: Work, *, rounds: int) -> None:
    chunks, _ = split_all(work)
    tokens = count_all(work)
    size = sum(len(text.encode()) for _, text in work.documents)
    counting, splitting = [], []
    for _ in range(rounds):
        counting.append(cpu_seconds(lambda: count_all(work)))
        splitting.append(cpu_seconds(lambda: split_all(work)))
    units = tokens / 512
    for label, seconds in (("counting", counting), ("splitting", splitting)):
        least, median = min(seconds), statistics.median(seconds)
        print(
            f"{work.settings.tokenizer:12} {label:9} {least / units * 1e6:6.0f} "
            f"(median {median / units * 1e6:.0f}) µs per 512 tokens, "
            f"{size / least / 1e6:5.1f} MB per CPU second, "
            f"{least / chunks * 1e6:6.0f} µs for each of {chunks} chunks"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--tokens", type=int, default=512, help="size of a chunk")
    parser.add_argument("--overlap", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--tokenizer", nargs="+", default=["cl100k_base", "o200k_base", "minilm"]
    )
    options = parser.parse_args()
    files = options.files or text_files()
    documents = [(path.name, path.read_text(encoding="utf-8")) for path in files]
    for name in options.tokenizer:
        size = options.tokens
        report(
            Work(
                documents,
                load_tokenizer(name),
                ChunkingSettings(name, size, options.overlap, size, size, size),
            ),
            rounds=options.rounds,
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak memory {peak / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
