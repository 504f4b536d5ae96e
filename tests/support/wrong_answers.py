"""Ways in which the answer of an embeddings API can be senseless.

Each changes the items of a right answer before they are written. They take the last
item, or one in the middle, so that only a check of every item sees it.
"""

from __future__ import annotations

import math
import random
from typing import Any

Items = list[dict[str, Any]]


def empty(items: Items) -> None:
    items.clear()


def one_too_few(items: Items) -> None:
    del items[len(items) // 2]


def one_too_many(items: Items) -> None:
    items.append({**items[-1], "index": len(items)})


def without_index(items: Items) -> None:
    del items[-1]["index"]


def index_twice(items: Items) -> None:
    """Of one item alone there is no other index; then it is a negative one."""
    items[-1]["index"] = 0 if len(items) > 1 else -1


def index_out_of_range(items: Items) -> None:
    items[-1]["index"] = len(items)


def wrong_dimension(items: Items) -> None:
    items[-1]["embedding"] += [0.5]


def not_a_number(items: Items) -> None:
    items[-1]["embedding"][0] = math.nan


def infinite(items: Items) -> None:
    items[-1]["embedding"][0] = math.inf


def zero(items: Items) -> None:
    items[-1]["embedding"] = [0.0] * len(items[-1]["embedding"])


def quarter(items: Items) -> None:
    """What some servers make of base64: a fourth of the numbers."""
    numbers = items[-1]["embedding"]
    items[-1]["embedding"] = numbers[: len(numbers) // 4]


def shuffled(items: Items) -> None:
    """Senseless to look at, but right: every item says which text it is of."""
    random.Random(len(items)).shuffle(items)


WRONG = (
    empty,
    one_too_few,
    one_too_many,
    without_index,
    index_twice,
    index_out_of_range,
    wrong_dimension,
    not_a_number,
    infinite,
    zero,
    quarter,
)
