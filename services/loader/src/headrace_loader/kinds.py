"""What kind of text a text is. Pure: no I/O.

Content comes first; the name's extension and the declared media type decide only
between kinds of text that the same content could be.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Every kind of document that has an extractor, by its media type."""

    PDF = "application/pdf"
    DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
    XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    EPUB = "application/epub+zip"
    EML = "message/rfc822"
    HTML = "text/html"
    MARKDOWN = "text/markdown"
    CSV = "text/csv"
    JSON = "application/json"
    JSON_LINES = "application/jsonl"
    CODE = "text/x-source"
    TEXT = "text/plain"


PLAIN_KINDS = frozenset({Kind.TEXT, Kind.MARKDOWN, Kind.CODE})
"""Taken as they are; nothing is parsed."""


_PDF_WITHIN = 1024
"""A PDF's header may follow other bytes, says its specification."""
_PDF = b"%PDF-"
ZIP = b"PK\x03\x04"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MARKED_UP = (b"{\\rtf", b"%!PS")


def is_pdf(head: bytes) -> bool:
    """Whether the first bytes are a PDF's."""
    return _PDF in head[:_PDF_WITHIN]


def is_marked_up(head: bytes) -> bool:
    """RTF and PostScript: texts that are not meant to be read as they are."""
    return head.startswith(_MARKED_UP)


@dataclass(frozen=True, slots=True)
class TextKind:
    """A kind of text and, for code, its language."""

    kind: Kind
    language: str = ""

    @property
    def media_type(self) -> str:
        """``text/x-python`` for code, else the kind's own."""
        if self.kind is Kind.CODE and self.language:
            return f"text/x-{self.language}"
        return self.kind.value


_LANGUAGES = {
    "python": "py pyi pyw",
    "javascript": "js mjs cjs jsx",
    "typescript": "ts mts cts",
    "tsx": "tsx",
    "java": "java",
    "go": "go",
    "rust": "rs",
    "c": "c h",
    "cpp": "cc cpp cxx c++ hpp hh hxx h++ ipp",
    "csharp": "cs",
    "kotlin": "kt kts",
    "scala": "scala sc",
    "swift": "swift",
    "ruby": "rb rake gemspec",
    "php": "php phtml",
    "perl": "pl pm",
    "lua": "lua",
    "r": "r",
    "shell": "sh bash zsh ksh",
    "powershell": "ps1 psm1",
    "sql": "sql",
    "css": "css scss sass less",
    "yaml": "yaml yml",
    "toml": "toml",
    "ini": "ini cfg conf properties",
    "xml": "xml xsd xsl xslt svg",
    "protobuf": "proto",
    "dart": "dart",
    "elixir": "ex exs",
    "erlang": "erl hrl",
    "haskell": "hs",
    "clojure": "clj cljs edn",
    "groovy": "groovy gradle",
    "objectivec": "m mm",
    "julia": "jl",
    "vue": "vue",
    "svelte": "svelte",
    "dockerfile": "dockerfile",
    "make": "mk makefile",
    "cmake": "cmake",
    "hcl": "tf hcl",
    "graphql": "graphql gql",
}
_LANGUAGE_BY_EXTENSION = {
    extension: language
    for language, extensions in _LANGUAGES.items()
    for extension in extensions.split()
}
_KIND_BY_EXTENSION = {
    "html": Kind.HTML,
    "htm": Kind.HTML,
    "xhtml": Kind.HTML,
    "md": Kind.MARKDOWN,
    "markdown": Kind.MARKDOWN,
    "mdx": Kind.MARKDOWN,
    "csv": Kind.CSV,
    "tsv": Kind.CSV,
    "json": Kind.JSON,
    "geojson": Kind.JSON,
    "ipynb": Kind.JSON,
    "jsonl": Kind.JSON_LINES,
    "ndjson": Kind.JSON_LINES,
    "eml": Kind.EML,
    "txt": Kind.TEXT,
    "text": Kind.TEXT,
    "log": Kind.TEXT,
    "rst": Kind.TEXT,
    "tex": Kind.TEXT,
}
_KIND_BY_MEDIA_TYPE = {
    "text/html": Kind.HTML,
    "application/xhtml+xml": Kind.HTML,
    "text/markdown": Kind.MARKDOWN,
    "text/x-markdown": Kind.MARKDOWN,
    "text/csv": Kind.CSV,
    "text/tab-separated-values": Kind.CSV,
    "application/json": Kind.JSON,
    "application/jsonl": Kind.JSON_LINES,
    "application/x-ndjson": Kind.JSON_LINES,
    "application/x-jsonlines": Kind.JSON_LINES,
    "message/rfc822": Kind.EML,
}
_LANGUAGE_BY_MEDIA_TYPE = {
    "application/javascript": "javascript",
    "text/javascript": "javascript",
    "application/typescript": "typescript",
    "application/sql": "sql",
    "application/x-sh": "shell",
    "application/xml": "xml",
    "text/xml": "xml",
    "text/css": "css",
    "application/yaml": "yaml",
}
_LANGUAGE_BY_INTERPRETER = {
    "python": "python",
    "node": "javascript",
    "deno": "typescript",
    "bash": "shell",
    "sh": "shell",
    "zsh": "shell",
    "dash": "shell",
    "ksh": "shell",
    "perl": "perl",
    "ruby": "ruby",
    "php": "php",
    "lua": "lua",
    "rscript": "r",
}

_HTML_DOCUMENT = re.compile(
    r"\s*+(?:<\?xml[^>]*>\s*+)?(?>\s*+<!--.*?-->)*+\s*+(?:<!doctype\s+html|<html[\s>])",
    re.IGNORECASE | re.DOTALL,
)
_HTML_START = re.compile(
    r"\s*<(?:head|body|title|meta|div|p|h[1-6]|table|article|section|main|ul|ol)[\s>/]",
    re.IGNORECASE,
)
_XML_START = re.compile(r"\s*<\?xml\s")
_MAIL_HEADER = re.compile(r"([A-Za-z][A-Za-z0-9-]{0,60}):[ \t\r\n]")
_MAIL_START = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,60}:|From | |\t")
"""How the first line of every mail begins."""
_MAIL_NAMES = frozenset(
    {
        "from",
        "to",
        "subject",
        "date",
        "message-id",
        "mime-version",
        "received",
        "return-path",
        "delivered-to",
        "content-type",
        "dkim-signature",
        "x-mailer",
    }
)
_SHEBANG = re.compile(r"#!\s*(\S+)(?:[ \t]+(?:-\S+[ \t]+)*(\S+))?")
_MARKDOWN = re.compile(
    r"^(?:#{1,6} \S|```|~~~|[-*+] \[[ xX]\] |\|? ?:?-{3,}:? ?\|)|\]\((?:https?://|[./#])",
    re.MULTILINE,
)
# All expressions of a language must be found. None looks further than a line, so that
# no text makes them slow.
_CODE_SIGNS: tuple[tuple[str, tuple[re.Pattern[str], ...]], ...] = tuple(
    (language, tuple(re.compile(sign, re.MULTILINE) for sign in signs))
    for language, signs in (
        ("php", (r"\A<\?php\b",)),
        ("go", (r"^package [a-z]\w*\s*$", r"^func ")),
        (
            "java",
            (
                r"^(?:package [\w.]+;|import [\w.*]+;)",
                r"^(?:public |final |abstract )*(?:class|interface|enum|record) \w",
            ),
        ),
        ("rust", (r"^(?:pub )?(?:fn \w|impl\b|use \w+::|struct \w|mod \w)", r"[{;]$")),
        ("cpp", (r"^#include\s*[<\"]", r"^(?:class|namespace|template|using)\b")),
        ("c", (r"^#include\s*[<\"]",)),
        (
            "python",
            (
                r"^(?:def \w+\(|class \w+|from [\w.]+ import |import \w)",
                r":$",
                r"^    \S",
            ),
        ),
        (
            "javascript",
            (
                r"^(?:export )?(?:default )?(?:async )?(?:function|const|class) \w",
                r"[;{]$",
            ),
        ),
    )
)
_JSON_LINE = re.compile(r"\s*[\[{]")
_DELIMITERS = "\t;,|"
_TABLE_LINES = 5
_FEW = 2048
"""Characters that most often hold as many lines as are looked at."""


def text_kind(head: str, *, name: str = "", media_type: str = "") -> TextKind:
    """Decide what a text is.

    Args:
        head: its first characters, 64 Ki at most, without a byte order mark.
        name: a file name or title; only its extension is looked at.
        media_type: as declared, parameters and all.
    """
    hint = _hint(name, media_type)
    if _HTML_DOCUMENT.match(head):
        return hint if _holds_markup(hint) else TextKind(Kind.HTML)
    if _is_mail(head) and hint.kind in {Kind.TEXT, Kind.EML}:
        return TextKind(Kind.EML)
    if interpreter := _interpreter(head):
        return TextKind(Kind.CODE, interpreter)
    if hint.kind is Kind.CODE or _confirmed(hint.kind, head):
        return hint
    return _by_content(head, named=bool(_extension(name)))


def names_kind(name: str) -> bool:
    """Whether a name has an extension that says something."""
    extension = _extension(name)
    return extension in _LANGUAGE_BY_EXTENSION or extension in _KIND_BY_EXTENSION


def _hint(name: str, media_type: str) -> TextKind:
    """What name and declaration say; plain text where they say nothing."""
    extension = _extension(name)
    declared = media_type.partition(";")[0].strip().lower()
    language = _LANGUAGE_BY_EXTENSION.get(extension)
    kind = _KIND_BY_EXTENSION.get(extension)
    if not language and not kind:
        kind = _KIND_BY_MEDIA_TYPE.get(declared)
        subtype = declared.removeprefix("text/x-")
        language = _LANGUAGE_BY_MEDIA_TYPE.get(declared) or (
            subtype if subtype != declared and subtype in _LANGUAGES else None
        )
    return TextKind(Kind.CODE, language) if language else TextKind(kind or Kind.TEXT)


def _extension(name: str) -> str:
    last = name.replace("\\", "/").rpartition("/")[2].lower()
    if last in {"dockerfile", "makefile"}:
        return last
    return last.rpartition(".")[2] if "." in last else ""


def _holds_markup(hint: TextKind) -> bool:
    """Kinds that may begin like a page without being one."""
    return hint.kind is Kind.CODE and hint.language in {"php", "vue", "svelte"}


def _confirmed(kind: Kind, head: str) -> bool:
    """Whether the content can be what the name says; plain text is said of anything."""
    if kind is Kind.MARKDOWN:
        return True
    if kind is Kind.HTML:
        return "<" in head and ">" in head
    if kind in {Kind.JSON, Kind.JSON_LINES}:
        return bool(_JSON_LINE.match(head))
    if kind is Kind.CSV:
        return any(delimiter in head for delimiter in _DELIMITERS)
    return False


def _by_content(head: str, *, named: bool) -> TextKind:
    if _JSON_LINE.match(head):
        kind = Kind.JSON_LINES if _is_json_lines(head) else Kind.JSON
    elif _HTML_START.match(head):
        kind = Kind.HTML
    elif _XML_START.match(head):
        return TextKind(Kind.CODE, "xml")
    elif _is_table(head):
        kind = Kind.CSV
    elif named:
        # A name with an extension that means plain text is believed about the rest.
        kind = Kind.TEXT
    elif language := _language(head):
        return TextKind(Kind.CODE, language)
    else:
        kind = Kind.MARKDOWN if len(_MARKDOWN.findall(head)) >= 2 else Kind.TEXT
    return TextKind(kind)


def _language(head: str) -> str:
    for language, signs in _CODE_SIGNS:
        if all(sign.search(head) for sign in signs):
            return language
    return ""


def _is_json_lines(head: str) -> bool:
    lines = [line for line in _first_lines(head, 4) if line.strip()]
    return len(lines) > 1 and all(
        line.rstrip().endswith("}") and line.startswith("{") for line in lines[:-1]
    )


def _is_mail(head: str) -> bool:
    if not _MAIL_START.match(head):
        return False
    names: set[str] = set()
    for number, line in enumerate(_first_lines(head, 60)):
        if not line.strip():
            break
        if line[0] in " \t" or (number == 0 and line.startswith("From ")):
            continue
        match = _MAIL_HEADER.match(line + "\n")
        if match is None:
            return False
        names.add(match[1].lower())
    return len(names & _MAIL_NAMES) >= 3 and "from" in names


def _interpreter(head: str) -> str:
    match = _SHEBANG.match(head)
    if match is None:
        return ""
    program = match[1].rsplit("/", 1)[-1]
    if program == "env" and match[2]:
        program = match[2]
    return _LANGUAGE_BY_INTERPRETER.get(program.rstrip("0123456789.").lower(), "shell")


def _is_table(head: str) -> bool:
    """Lines that all hold the same number of one delimiter, twice at least."""
    lines = _first_lines(head, 20)
    if len(head) > 60_000:
        lines = lines[:-1]
    lines = [line for line in lines if line.strip()]
    if len(lines) < _TABLE_LINES:
        return False
    for delimiter in _DELIMITERS:
        counts = {line.count(delimiter) for line in lines}
        if len(counts) == 1 and counts.pop() >= 2:
            return True
    return False


def _first_lines(head: str, count: int) -> list[str]:
    """The first lines; to split all of a text costs more than all else here."""
    lines = head[:_FEW].splitlines()
    # The last of them may be cut.
    return lines[:count] if len(lines) > count else head.splitlines()[:count]
