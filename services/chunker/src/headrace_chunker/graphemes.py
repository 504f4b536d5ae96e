"""Where a text may be cut without taking a letter apart. Pure: no I/O."""

from __future__ import annotations

import unicodedata

_ZERO_WIDTH_JOINER = "\u200d"
_FIRST_REGIONAL, _LAST_REGIONAL = "\U0001f1e6", "\U0001f1ff"
_FIRST_SKIN_TONE, _LAST_SKIN_TONE = "\U0001f3fb", "\U0001f3ff"
_LONGEST = 64
"""Code points looked back over; longer clusters are not letters but attacks."""


def can_cut(text: str, index: int) -> bool:
    """Whether no letter, sign or line end spans ``index``.

    The rules of Unicode's extended grapheme clusters that matter in practice: marks,
    joined and coloured emoji, flags, conjoining Hangul, and a carriage return with its
    line feed.
    """
    if index <= 0 or index >= len(text):
        return True
    before, after = text[index - 1], text[index]
    if before < "\u0300" and after < "\u0300":
        return not (before == "\r" and after == "\n")
    if _extends(after) or before == _ZERO_WIDTH_JOINER:
        return False
    if _FIRST_REGIONAL <= after <= _LAST_REGIONAL:
        return _regional_before(text, index) % 2 == 0
    return not _conjoins(before, after)


def last_cut(text: str, index: int) -> int:
    """The last place at or shortly before ``index`` where ``can_cut``, else ``index``.

    It is past 0 where ``index`` is.
    """
    for place in range(index, max(0, index - _LONGEST), -1):
        if can_cut(text, place):
            return place
    return index


def _extends(character: str) -> bool:
    return (
        unicodedata.category(character) in {"Mn", "Me", "Mc"}
        or character in {_ZERO_WIDTH_JOINER, "\u200c"}
        or _FIRST_SKIN_TONE <= character <= _LAST_SKIN_TONE
    )


def _regional_before(text: str, index: int) -> int:
    count = 0
    while (
        count < min(index, _LONGEST)
        and _FIRST_REGIONAL <= text[index - count - 1] <= _LAST_REGIONAL
    ):
        count += 1
    return count


def _conjoins(before: str, after: str) -> bool:
    """Whether two Hangul characters make one syllable."""
    if not "\u1100" <= after <= "\u11ff" and not "\uac00" <= after <= "\ud7a3":
        return False
    leading = "\u1100" <= before <= "\u115f"
    vowel_after = "\u1160" <= after <= "\u11a7"
    trailing_after = "\u11a8" <= after <= "\u11ff"
    syllable = "\uac00" <= before <= "\ud7a3"
    if leading:
        return not trailing_after
    open_syllable = syllable and (ord(before) - 0xAC00) % 28 == 0
    if vowel_after:
        return open_syllable or "\u1160" <= before <= "\u11a7"
    return trailing_after and (syllable or "\u1160" <= before <= "\u11ff")
