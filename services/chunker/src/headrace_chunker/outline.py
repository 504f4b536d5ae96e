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
    {
        "decorated_definition",
        "export_statement",
        "template_declaration",
        "linkage_specification",
    }
)
"""They are no deeper than the definition that they hold."""
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
        lead = -1
        """First line of the comments directly above."""
        last_end = -1
        last_long = False
        for child in node.named_children:
            start, end = child.start_point, child.end_point
            row, end_row = start.row, end.row
            if end.column == 0 and end_row > row:
                end_row -= 1
            comment = child.type in _COMMENTS
            stuck = lead >= 0 and row == last_end + 1
            if not stuck:
                lead = -1
            if row < len(self._levels) and start.column <= self._indent[row]:
                fresh = (
                    row == 0
                    or self._blank[row - 1]
                    or last_long
                    or end_row > row
                    or comment
                )
                level = depth + (_STUCK if stuck else 0 if fresh else 1)
                if self._levels[row] > level or stuck:
                    self._levels[row] = level
            if end_row > row:
                inner = path
                keyword = self._keywords.get(child.type)
                if keyword is not None:
                    inner = path_below(path, _title(child, keyword))
                    first = lead if stuck else row
                    self._paths[first : end_row + 1] = [inner] * (end_row + 1 - first)
                    self._hold_header(child, depth)
                deeper.append((child, _depth(node, child, depth), inner))
            if comment and lead < 0:
                lead = row
            elif not comment:
                lead = -1
            last_end = end_row
            last_long = end_row > row and not comment
        return deeper

    def _hold_header(self, node: Node, depth: int) -> None:
        """Keep a definition's first lines together, down to its body."""
        body = node.child_by_field_name("body")
        if body is None:
            return
        for row in range(node.start_point.row + 1, body.start_point.row):
            self._levels[row] = depth + _STUCK


def _depth(node: Node, child: Node, depth: int) -> int:
    """How deep a child's children are, where the node's children are at ``depth``."""
    if child.type in _BODIES or child.type in _WRAPPERS:
        return depth
    holds = node.parent is None or node.type in _BODIES or node.type in _WRAPPERS
    if not holds and child.start_point.row == node.start_point.row:
        return depth
    return depth + 1


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
    indents = [0]
    after_blank = True
    for line in lines:
        text = line.strip()
        if not text:
            result.append(Line(INSIDE, path, blank=True))
            after_blank = True
            continue
        indent = len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())
        while indents[-1] > indent:
            indents.pop()
        if indents[-1] < indent:
            indents.append(indent)
        level = len(indents) - 1 + (0 if after_blank else 1)
        if _CLOSERS.match(line):
            level += _STUCK
        result.append(Line(min(level, INSIDE), path))
        after_blank = False
    return result
