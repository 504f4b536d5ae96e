"""What a programme's lines are: how good a place to cut, and within what. Pure.

By syntax where there is a grammar for the language, else by indentation.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import tree_sitter_c
import tree_sitter_cpp
import tree_sitter_go
import tree_sitter_java
import tree_sitter_javascript
import tree_sitter_python
import tree_sitter_rust
import tree_sitter_typescript
from tree_sitter import Language, Node, Parser

from headrace_chunker.items import label, path_below

INSIDE = 6
"""Level of a line on which nothing begins: within a string, a list, a comment."""
_STUCK = 3
"""Added to a line that belongs to the one before: a definition below its comment."""

_GRAMMARS: dict[str, Callable[[], object]] = {
    "python": tree_sitter_python.language,
    "javascript": tree_sitter_javascript.language,
    "typescript": tree_sitter_typescript.language_typescript,
    "tsx": tree_sitter_typescript.language_tsx,
    "java": tree_sitter_java.language,
    "go": tree_sitter_go.language,
    "rust": tree_sitter_rust.language,
    "c": tree_sitter_c.language,
    "cpp": tree_sitter_cpp.language,
}

_KEYWORDS: dict[str, str] = {
    "class_definition": "class",
    "class_declaration": "class",
    "abstract_class_declaration": "class",
    "class_specifier": "class",
    "struct_specifier": "struct",
    "struct_item": "struct",
    "union_specifier": "union",
    "union_item": "union",
    "enum_specifier": "enum",
    "enum_declaration": "enum",
    "enum_item": "enum",
    "interface_declaration": "interface",
    "annotation_type_declaration": "@interface",
    "record_declaration": "record",
    "type_spec": "type",
    "type_alias_declaration": "type",
    "trait_item": "trait",
    "impl_item": "impl",
    "mod_item": "mod",
    "macro_definition": "macro",
    "namespace_definition": "namespace",
    "internal_module": "namespace",
    "function_definition": "def",
    "function_declaration": "function",
    "generator_function_declaration": "function",
    "function_item": "fn",
    "method_definition": "method",
    "method_declaration": "method",
    "constructor_declaration": "constructor",
}
"""What a definition is called in a heading path, by its type in any grammar."""
_KEYWORDS_OF: dict[str, dict[str, str]] = {
    "c": {"function_definition": "function"},
    "cpp": {"function_definition": "function"},
    "go": {"function_declaration": "func", "method_declaration": "func"},
}

_BODIES = frozenset(
    {
        "block",
        "class_body",
        "interface_body",
        "enum_body",
        "enum_body_declarations",
        "constructor_body",
        "switch_block",
        "statement_block",
        "compound_statement",
        "declaration_list",
        "field_declaration_list",
    }
)
"""What they hold is as deep as the first lines of what they are the body of."""
_WRAPPERS = frozenset(
    {"decorated_definition", "export_statement", "template_declaration"}
)
"""They are the definition that they hold, with something before it."""
_COMMENTS = frozenset(
    {"comment", "line_comment", "block_comment", "attribute_item", "decorator"}
)
_CLOSERS = re.compile(
    r"[ \t]*(?:[)\]}]|</"
    r"|(?:end|else|elif|elsif|except|finally|catch|fi|done|esac|then)\b)"
)


@dataclass(slots=True)
class Line:
    """A line of code: ``level`` 0 is the best to begin a chunk with."""

    level: int
    path: tuple[str, ...]
    blank: bool = False


def outline(text: str, language: str, *, path: tuple[str, ...] = ()) -> list[Line]:
    """The lines of a text, the last one without a line end.

    Args:
        text: whole lines of code; what surrounds them is not known.
        language: its name, lower case.
        path: the heading path that definitions come below.
    """
    lines = text.split("\n")
    parser = _parser(language)
    if parser is None:
        return _by_indentation(lines, path)
    try:
        tree = parser.parse(text.encode())
    except ValueError:
        # The parser gave up.
        return _by_indentation(lines, path)
    keywords = {**_KEYWORDS, **_KEYWORDS_OF.get(language, {})}
    return _Syntax(lines, keywords, path).read(tree.root_node)


@cache
def _language(name: str) -> Language:
    return Language(_GRAMMARS[name]())


def _parser(name: str) -> Parser | None:
    """A parser of its own for each text: they are cheap, and no two threads may share.

    Raises nothing: a language without a grammar has no parser.
    """
    return Parser(_language(name)) if name in _GRAMMARS else None


class _Syntax:
    def __init__(
        self, lines: list[str], keywords: dict[str, str], path: tuple[str, ...]
    ) -> None:
        self._blank = [not line.strip() for line in lines]
        self._indent = [len(line) - len(line.lstrip()) for line in lines]
        self._keywords = keywords
        self._levels = [INSIDE] * len(lines)
        self._paths = [path] * len(lines)

    def read(self, root: Node) -> list[Line]:
        waiting: list[tuple[Node, int, tuple[str, ...]]] = [(root, 0, self._paths[0])]
        while waiting:
            node, depth, path = waiting.pop()
            waiting.extend(self._children(node, depth, path))
        return [
            Line(min(level, INSIDE), path, blank)
            for level, path, blank in zip(
                self._levels, self._paths, self._blank, strict=True
            )
        ]

    def _children(
        self, node: Node, depth: int, path: tuple[str, ...]
    ) -> list[tuple[Node, int, tuple[str, ...]]]:
        """Mark the lines on which a node's children begin; gives what to look into."""
        deeper: list[tuple[Node, int, tuple[str, ...]]] = []
        node_row = node.start_point.row
        holds = node.parent is None or node.type in _BODIES
        lead = -1
        """First line of the comments directly above."""
        last_end = -1
        last_long = False
        for child in node.named_children:
            row, end_row = _rows(child)
            comment = child.type in _COMMENTS
            long = end_row > row
            stuck = lead >= 0 and row == last_end + 1
            if not stuck:
                lead = -1
            # What begins with its parent was marked with it.
            if (holds or row > node_row) and self._first_on_line(child):
                fresh = comment or long or last_long or self._after_blank(row)
                level = depth + (_STUCK if stuck else 0 if fresh else 1)
                if stuck or level < self._levels[row]:
                    self._levels[row] = level
            if long:
                held = self._unwrapped(child)
                keyword = self._keywords.get(held.type)
                inner = path
                if keyword is not None:
                    inner = path_below(path, _title(held, keyword))
                    first = lead if stuck else row
                    self._paths[first : end_row + 1] = [inner] * (end_row + 1 - first)
                    self._hold_header(row, held, depth)
                same = held.type in _BODIES or (not holds and row == node_row)
                deeper.append((held, depth if same else depth + 1, inner))
            if not comment:
                lead = -1
            elif lead < 0:
                lead = row
            last_end = end_row
            last_long = long and not comment
        return deeper

    def _first_on_line(self, node: Node) -> bool:
        row, column = node.start_point
        return row < len(self._indent) and column <= self._indent[row]

    def _after_blank(self, row: int) -> bool:
        return row == 0 or self._blank[row - 1]

    def _unwrapped(self, node: Node) -> Node:
        """The definition in a wrapper, or the node itself."""
        held: Node | None = node
        while held is not None and held.type in _WRAPPERS:
            held = next(
                (
                    child
                    for child in held.named_children
                    if child.type in self._keywords or child.type in _WRAPPERS
                ),
                None,
            )
        return held or node

    def _hold_header(self, row: int, node: Node, depth: int) -> None:
        """Keep a definition's first lines together, down to its body."""
        body = node.child_by_field_name("body")
        if body is not None:
            for header in range(row + 1, body.start_point.row):
                self._levels[header] = depth + _STUCK


def _rows(node: Node) -> tuple[int, int]:
    """First and last line of a node."""
    row = node.start_point.row
    end_row, end_column = node.end_point
    return row, end_row - 1 if end_column == 0 and end_row > row else end_row


def _title(node: Node, keyword: str) -> str:
    """``class Foo``; for an implementation its head: ``impl Display for Foo``."""
    if keyword == "impl":
        text = _text(node).partition("{")[0]
        return label(text.partition(" where ")[0])
    name = node.child_by_field_name("name")
    inner: Node | None = node
    while name is None and inner is not None:
        inner = inner.child_by_field_name("declarator")
        if inner is not None and inner.child_by_field_name("declarator") is None:
            name = inner
    if name is None:
        return label(keyword)
    receiver = node.child_by_field_name("receiver")
    owner = (
        f"{_text(receiver).strip('()').split()[-1].lstrip('*')}." if receiver else ""
    )
    return label(f"{keyword} {owner}{_text(name)}")


def _text(node: Node) -> str:
    return (node.text or b"")[:1024].decode(errors="ignore")


def _by_indentation(lines: list[str], path: tuple[str, ...]) -> list[Line]:
    """Less indented is better, after a blank line better still."""
    result: list[Line] = []
    blank = Line(INSIDE, path, blank=True)
    by_level = [Line(level, path) for level in range(INSIDE + 1)]
    indents = [0]
    after_blank = True
    for line in lines:
        text = line.lstrip()
        if not text:
            result.append(blank)
            after_blank = True
            continue
        indent = len(line) - len(text)
        if "\t" in line:
            indent = len(line[:indent].expandtabs(4))
        while indents[-1] > indent:
            indents.pop()
        if indents[-1] < indent:
            indents.append(indent)
        level = len(indents) - 1 + (0 if after_blank else 1)
        if _CLOSERS.match(line):
            level += _STUCK
        result.append(by_level[min(level, INSIDE)])
        after_blank = False
    return result
