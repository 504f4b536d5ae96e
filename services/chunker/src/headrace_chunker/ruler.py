"""Counts tokens once along the text, so that the count of any span is cheap. Pure.

The counts of two neighbouring stretches add up to the count of both exactly where no
token can span the place between them and neither side's tokens depend on the other:
a safe cut. Two kinds of place are safe for BERT's and for OpenAI's tokenizers:

- before a space or tab that follows something else than white space;
- at the start of a line that is not blank and does not start with a slash (o200k_base
  joins line ends and slashes to the punctuation before them).

Counts are taken between safe cuts 50 to 250 characters apart and summed up. A stretch
without a safe cut, like a line of Chinese or Base64, is cut anywhere; the sum is an
estimate there, and ``exact`` counts the span itself.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from itertools import accumulate

from headrace_chunker.graphemes import last_cut
from headrace_chunker.tokenizers import Tokenizer
from headrace_chunker.window import Window

MAX_CHUNK_BYTES = 64 * 1024
"""Of one chunk's UTF-8, by the contract."""

_BATCH = 16 * 1024
"""Characters measured at a time; the tokenizers hold the GIL for less than 1 ms."""
_SHORTEST, _LONGEST = 80, 240
"""Characters between cuts: a call to the tokenizer costs as much as counting ten, and
each chunk counts about two stretches a second time."""
_FORCED = 64
_LONGEST_TOKEN = 8
"""Characters of a token within a word, on the generous side."""
_KEPT_CUTS = 4096

_LINE_START = re.compile(r"\n(?=[ \t]*[^\s/])")
_WORD_END = re.compile(r"(?<=\S)(?=[ \t])")
_SPACE = re.compile(r"\s")


class Ruler:
    """The cuts and the tokens before each, from ``release`` to as far as was asked."""

    def __init__(self, window: Window, tokenizer: Tokenizer) -> None:
        self._window = window
        self._text = window.text
        self._count = tokenizer.count
        self._cuts = [0]
        self._tokens = [0]
        self._unsafe: list[int] = []
        self._ended = False
        # What was last asked for: a start, its cut and the tokens before it; an end and
        # the tokens from its cut on.
        self._start = (-1, 0, 0)
        self._tail = (-1, 0)

    def exact(self, start: int, end: int) -> int:
        """Tokens of the span's text alone."""
        cuts = self._cuts
        if cuts[-1] < end:
            self._measure_to(end)
        first = bisect_left(cuts, start)
        last = bisect_right(cuts, end) - 1
        text = self._text
        if first > last or (self._unsafe and self._estimated(cuts[first], cuts[last])):
            return self._count(text(start, end))
        tokens = self._tokens[last]
        if start == cuts[first]:
            tokens -= self._tokens[first]
        elif start == self._start[0]:
            tokens -= self._start[2]
        else:
            tokens -= self._tokens[first] - self._count(text(start, cuts[first]))
        if self._tail[0] != end:
            self._tail = (end, self._count(text(cuts[last], end)))
        return tokens + self._tail[1]

    def estimate(self, start: int, end: int) -> int:
        """About the tokens of the span: those between the nearest cuts after both.

        From the start that was last asked for it is exact up to the cut after ``end``.
        """
        cuts = self._cuts
        if cuts[-1] < end:
            self._measure_to(end)
        last = len(cuts) - 1
        if start == self._start[0]:
            before = self._start[2]
        else:
            before = self._tokens[min(bisect_left(cuts, start), last)]
        return self._tokens[min(bisect_left(cuts, end), last)] - before

    def fits(self, start: int, end: int, *, limit: int) -> bool:
        """Whether the span is within ``limit`` tokens and ``MAX_CHUNK_BYTES``."""
        if end - start > MAX_CHUNK_BYTES:
            return False
        last, _ = self._last_within(start, limit)
        lower = self._cuts[last]
        if start < lower < end and (
            last + 1 == len(self._cuts) or self._cuts[last + 1] <= end
        ):
            # The furthest end is before the next cut, whichever word's end it is.
            return False
        beyond = start < lower and end <= lower and (end - start) * 8 <= MAX_CHUNK_BYTES
        if not beyond and self.furthest(start, limit) < end:
            # The furthest is a word's end, so white space may follow it.
            return False
        return self.exact(start, end) <= limit

    def furthest(self, start: int, limit: int, *, precise: bool = True) -> int:
        """The last end of a word for which the span stays within the limit.

        It is the document's end where all fits, and past ``start`` always. With
        ``precise`` false the answer may be a little short.
        """
        last, allowed = self._last_within(start, limit)
        _, first, base = self._start
        if last < first:
            lower, spent = start, base
        else:
            lower, spent = self._cuts[last], self._tokens[last]
        if precise and last + 1 < len(self._cuts):
            lower = self._refine(
                lower,
                self._cuts[last + 1],
                allowed - spent,
                self._tokens[last + 1] - spent,
            )
        if lower <= start:
            lower = start + self._within_word(start, limit)
        return self._within_bytes(start, lower)

    def overlap(self, start: int, end: int, *, limit: int) -> int:
        """Where about ``limit`` tokens before ``end`` begin, at a cut after ``start``.

        The span from there may have a few tokens more.
        """
        self._measure_to(end)
        last = bisect_right(self._cuts, end) - 1
        rest = self._count(self._text(max(start, self._cuts[last]), end))
        if rest >= limit:
            return max(start, self._cuts[last])
        first = bisect_left(self._tokens, self._tokens[last] + rest - limit, 0, last)
        return max(start, self._cuts[max(0, first - 1)])

    def release(self, position: int) -> None:
        """Nothing before ``position`` will be asked for again."""
        if len(self._cuts) > _KEPT_CUTS:
            kept = max(0, bisect_right(self._cuts, position) - 1)
            del self._cuts[:kept], self._tokens[:kept]
            del self._unsafe[: bisect_left(self._unsafe, self._cuts[0])]
            self._start = (-1, 0, 0)

    def _estimated(self, start: int, end: int) -> bool:
        """Whether a cut from ``start`` to ``end`` is not safe."""
        unsafe = self._unsafe
        if not unsafe:
            return False
        place = bisect_left(unsafe, start)
        return place < len(unsafe) and unsafe[place] <= end

    def _last_within(self, start: int, limit: int) -> tuple[int, int]:
        """Which cut is the last within the limit, and the tokens up to the limit.

        It is the cut before ``start`` where there is none. The tokens are those from
        the first cut on.
        """
        if self._start[0] != start:
            self._measure_to(start)
            first = bisect_left(self._cuts, start)
            base = self._tokens[first]
            if start < self._cuts[first]:
                base -= self._count(self._text(start, self._cuts[first]))
            self._start = (start, first, base)
        _, first, base = self._start
        allowed = base + limit
        # Until the tokens are passed, or more text than a chunk may have.
        while (
            self._tokens[-1] <= allowed
            and self._cuts[-1] - start <= MAX_CHUNK_BYTES
            and self._more()
        ):
            pass
        return bisect_right(self._tokens, allowed, first) - 1, allowed

    def _refine(self, lower: int, upper: int, tokens: int, all_tokens: int) -> int:
        """The end of about the last word between two cuts that ``tokens`` allow."""
        if tokens <= 0:
            return lower
        text = self._text(lower, upper)
        guess = len(text) * tokens // max(1, all_tokens)
        while guess > 0:
            end = _word_end(text, guess)
            spent = self._count(text[:end]) if end else 0
            if spent <= tokens:
                return lower + end
            guess = min(end - 1, end * tokens // spent)
        return lower

    def _within_word(self, start: int, limit: int) -> int:
        """Characters of a word that is longer than the limit; at least one."""
        longest = min(limit * _LONGEST_TOKEN, MAX_CHUNK_BYTES)
        text = self._text(start, self._window.upto(start + longest))
        end = len(text)
        while end > 1:
            spent = self._count(text[:end])
            if spent <= limit:
                return end
            end = last_cut(text, min(end - 1, end * limit // spent))
        return 1

    def _within_bytes(self, start: int, end: int) -> int:
        if (end - start) * 4 <= MAX_CHUNK_BYTES:
            return end
        text = self._text(start, end)
        data = text.encode()
        if len(data) <= MAX_CHUNK_BYTES:
            return end
        text = data[:MAX_CHUNK_BYTES].decode(errors="ignore")
        return start + last_cut(text, len(text) - 1)

    def _measure_to(self, position: int) -> None:
        while self._cuts[-1] < position and self._more():
            pass

    def _more(self) -> bool:
        """Measure the next batch; false at the document's end."""
        if self._ended:
            return False
        start = self._cuts[-1]
        self._ended = not self._window.reach(start + _BATCH + 1)
        text = self._text(start, self._window.upto(start + _BATCH))
        cuts, unsafe = _cuts(text, final=self._ended)
        pieces = map(text.__getitem__, map(slice, [0, *cuts], cuts))
        counts = map(self._count, pieces)
        self._tokens[-1:] = accumulate(counts, initial=self._tokens[-1])
        self._cuts += [start + cut for cut in cuts] if start else cuts
        self._unsafe += [start + cut for cut in unsafe]
        return bool(cuts)


def _cuts(text: str, *, final: bool) -> tuple[list[int], list[int]]:
    """Where to count between, the last cut included, and which of them are not safe."""
    cuts: list[int] = []
    unsafe: list[int] = []
    last = 0
    search = _LINE_START.search
    while (line := search(text, last + _SHORTEST)) is not None:
        end = line.end()
        if end - last > _LONGEST:
            _cut_line(text, last, end, cuts, unsafe)
        cuts.append(end)
        last = end
    _cut_line(text, last, len(text), cuts, unsafe)
    if final and text and (not cuts or cuts[-1] < len(text)):
        cuts.append(len(text))
    elif not cuts and text:
        cuts.append(last_cut(text, len(text)))
        unsafe.append(cuts[0])
    return cuts, unsafe


def _cut_line(
    text: str, start: int, end: int, cuts: list[int], unsafe: list[int]
) -> None:
    """Cut a long stretch, up to where less than the longest is left."""
    while end - start > _LONGEST:
        word = _WORD_END.search(text, start + _SHORTEST, start + _LONGEST)
        if word is not None:
            start = word.start()
        else:
            start = last_cut(text, start + _FORCED)
            unsafe.append(start)
        cuts.append(start)


def _word_end(text: str, guess: int) -> int:
    """The end of the last word that ends within ``guess`` characters.

    Where the text has no white space at all a letter's end serves.
    """
    if guess >= len(text) or _SPACE.match(text, guess):
        return len(text[:guess].rstrip())
    place = max(text.rfind(" ", 0, guess), text.rfind("\n", 0, guess))
    if place >= 0:
        return len(text[:place].rstrip())
    return 0 if _SPACE.search(text) else last_cut(text, guess)
