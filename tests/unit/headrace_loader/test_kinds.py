"""Telling texts apart: content first, names and declarations as hints."""

import re

import pytest
from headrace_loader import kinds
from headrace_loader.kinds import Kind, TextKind, text_kind
from hypothesis import given
from hypothesis import strategies as st

CSV = "a,b,c\n" * 6
PYTHON = "import os\n\ndef f(x):\n    return x\n"


@pytest.mark.parametrize(
    ("head", "name", "media_type", "expected"),
    [
        ("<!DOCTYPE html><p>x", "", "", TextKind(Kind.HTML)),
        ("<!-- c --><!-- d -->\n<HTML lang='en'>", "x.txt", "", TextKind(Kind.HTML)),
        (
            "<p align='center'>logo</p>\n# Readme",
            "README.md",
            "",
            TextKind(Kind.MARKDOWN),
        ),
        ("<template><p/></template>", "a.vue", "", TextKind(Kind.CODE, "vue")),
        ("<?xml version='1.0'?><a/>", "", "", TextKind(Kind.CODE, "xml")),
        ("# T\n\n[x](https://e.org)\n", "", "", TextKind(Kind.MARKDOWN)),
        ("# T\n", "a.txt", "", TextKind(Kind.TEXT)),
        ("text", "a.md", "", TextKind(Kind.MARKDOWN)),
        ("text", "", "text/markdown; charset=utf-8", TextKind(Kind.MARKDOWN)),
        (CSV, "", "", TextKind(Kind.CSV)),
        ("x\ny\n", "a.csv", "", TextKind(Kind.TEXT)),
        ("x;y\n", "a.csv", "", TextKind(Kind.CSV)),
        ('{"a": 1}', "", "", TextKind(Kind.JSON)),
        ('{"a": 1}\n{"a": 2}\n', "", "", TextKind(Kind.JSON_LINES)),
        ("plain prose", "a.json", "", TextKind(Kind.TEXT)),
        (PYTHON, "", "", TextKind(Kind.CODE, "python")),
        (PYTHON, "a.py", "text/html", TextKind(Kind.CODE, "python")),
        ("x", "a.TSX", "", TextKind(Kind.CODE, "tsx")),
        ("x", "C:\\src\\a.rs", "", TextKind(Kind.CODE, "rust")),
        ("x", "src/Dockerfile", "", TextKind(Kind.CODE, "dockerfile")),
        ("#!/usr/bin/env -S python3.11\nx", "run", "", TextKind(Kind.CODE, "python")),
        ("#!/bin/bash\nx", "", "", TextKind(Kind.CODE, "shell")),
        ("package a\n\nfunc f() {}\n", "", "", TextKind(Kind.CODE, "go")),
        ("From: a\nSubject: b\nDate: c\n\nbody", "", "", TextKind(Kind.EML)),
        ("From: a\nSubject: b\nDate: c\n\nbody", "x.md", "", TextKind(Kind.MARKDOWN)),
        ("Note: this\nFrom: me\n", "", "", TextKind(Kind.TEXT)),
        ("Some prose, with commas, in it.\n" * 3, "", "", TextKind(Kind.TEXT)),
        ("", "", "", TextKind(Kind.TEXT)),
    ],
)
def test_kind(head: str, name: str, media_type: str, expected: TextKind) -> None:
    assert expected == text_kind(head, name=name, media_type=media_type)


def test_code_has_a_media_type_of_its_language() -> None:
    assert "text/x-python" == TextKind(Kind.CODE, "python").media_type  # noqa: SIM300
    assert "text/markdown" == TextKind(Kind.MARKDOWN).media_type  # noqa: SIM300


@given(st.text(max_size=300), st.text(max_size=30), st.text(max_size=30))
def test_any_text_has_a_kind(head: str, name: str, media_type: str) -> None:
    text_kind(head, name=name, media_type=media_type)


LINES = st.lists(
    st.sampled_from(
        [
            *("\r", "\n", "\r\n", "\v", "\x1c", "\x85", "\u2028", "", " ", "\t", "é"),
            *(
                "From: a",
                "Subject:b",
                "Date: c",
                "From x",
                "a,b,c",
                "{",
                "}",
                "y" * 500,
            ),
        ]
    ),
    max_size=60,
).map("".join)


@given(LINES, st.integers(0, 1200), st.integers(1, 60))
def test_the_first_lines_are_those_of_the_whole(
    text: str, before: int, count: int
) -> None:
    head = "x" * before + "\n" + text

    assert kinds._first_lines(head, count) == head.splitlines()[:count]


@given(LINES)
def test_what_cannot_begin_a_mail_is_none(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kinds, "_MAIL_START", re.compile(""))
        mail = kinds._is_mail(text)
    assert kinds._is_mail(text) == mail


@pytest.mark.parametrize(
    "line",
    ["<!-- -->", "import x;\n", "- [ ] ", "a" * 10, "(", "From: ", "#include <", "x-"],
)
def test_no_text_takes_long_to_tell(line: str) -> None:
    # The test's own time limit is what fails where an expression backtracks.
    text_kind((line * 65_536)[:65_536])
