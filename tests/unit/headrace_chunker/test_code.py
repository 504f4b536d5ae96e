"""Code is cut between definitions, and its chunks name what holds them."""

from __future__ import annotations

import pytest

from headrace.messages import Segment, SegmentKind
from tests.support.chunking import chunks_of, settings


def _python(number: int) -> str:
    return (
        f"    # Turns by {number}.\n    @measured\n"
        f"    def turn_{number}(self, wheel):\n"
        f"        speed = wheel.speed * {number}\n        return speed"
    )


def _javascript(number: int) -> str:
    return (
        f"  /** Turns by {number}. */\n  turn_{number}(wheel) {{\n"
        f"    const speed = wheel.speed * {number};\n    return speed;\n  }}"
    )


def _typescript(number: int) -> str:
    return (
        f"  /** Turns by {number}. */\n  turn_{number}(wheel: Wheel): number {{\n"
        f"    const speed: number = wheel.speed * {number};\n    return speed;\n  }}"
    )


def _java(number: int) -> str:
    return (
        f"    /** Turns by {number}. */\n    @Override\n"
        f"    public int turn_{number}(Wheel wheel) {{\n"
        f"        int speed = wheel.speed * {number};\n        return speed;\n    }}"
    )


def _go(number: int) -> str:
    return (
        f"// turn_{number} turns.\nfunc (m *Mill) turn_{number}(wheel Wheel) int {{\n"
        f"\tspeed := wheel.Speed * {number}\n\treturn speed\n}}"
    )


def _rust(number: int) -> str:
    return (
        f"    /// Turns by {number}.\n    #[inline]\n"
        f"    pub fn turn_{number}(&self, wheel: &Wheel) -> i64 {{\n"
        f"        let speed = wheel.speed * {number};\n        speed\n    }}"
    )


def _c(number: int) -> str:
    return (
        f"/* Turns by {number}. */\n"
        f"static int *turn_{number}(struct wheel *wheel)\n{{\n"
        f"    wheel->speed *= {number};\n    return &wheel->speed;\n}}"
    )


def _cpp(number: int) -> str:
    return (
        f"  // Turns by {number}.\n  int turn_{number}(const Wheel &wheel) {{\n"
        f"    int speed = wheel.speed * {number};\n    return speed;\n  }}"
    )


CASES = {
    "mill.py": ("class Mill:\n", _python, "", ("class Mill", "def turn_3")),
    "mill.js": (
        "export class Mill {\n",
        _javascript,
        "\n}\n",
        ("class Mill", "method turn_3"),
    ),
    "mill.ts": (
        "export class Mill {\n",
        _typescript,
        "\n}\n",
        ("class Mill", "method turn_3"),
    ),
    "Mill.java": (
        "public class Mill {\n",
        _java,
        "\n}\n",
        ("class Mill", "method turn_3"),
    ),
    "mill.go": ("package mill\n\n", _go, "\n", ("func Mill.turn_3",)),
    "mill.rs": (
        "impl Turning for Mill {\n",
        _rust,
        "\n}\n",
        ("impl Turning for Mill", "fn turn_3"),
    ),
    "mill.c": ("#include <mill.h>\n\n", _c, "\n", ("function turn_3",)),
    "mill.cpp": (
        "namespace mill {\nclass Mill {\n",
        _cpp,
        "\n};\n}\n",
        ("namespace mill", "class Mill", "function turn_3"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_methods_stay_whole_with_their_comments_and_name_their_class(name: str) -> None:
    head, method, tail, path = CASES[name]
    methods = [method(number) for number in range(8)]
    text = head + "\n\n".join(methods) + tail

    chunks = chunks_of(text, name=name, by=settings(size=56))

    for written in methods:
        assert sum(written.strip() in chunk.text for chunk in chunks) == 1
    assert path in [chunk.heading_path for chunk in chunks]


@pytest.mark.parametrize("name", CASES)
def test_the_language_may_come_by_media_type_or_segment(name: str) -> None:
    head, method, tail, _ = CASES[name]
    text = head + "\n\n".join(method(number) for number in range(8)) + tail
    language = {
        "py": "python",
        "js": "javascript",
        "ts": "typescript",
        "rs": "rust",
    }.get(name.partition(".")[2], name.partition(".")[2])
    segment = Segment(0, len(text), SegmentKind.CODE, language=language)

    by = settings(size=70)
    expected = chunks_of(text, name=name, by=by)

    assert expected == chunks_of(text, media_type=f"text/x-{language}", by=by)
    assert expected == chunks_of(text, (segment,), by=by, part_size=100)


def test_a_long_function_is_cut_between_statements() -> None:
    blocks = "\n".join(
        f"    if wheel.speed > {number}:\n        wheel.brake({number})\n"
        f"        log('braked', {number})"
        for number in range(20)
    )
    text = f"def slow(wheel):\n{blocks}\n"

    chunks = chunks_of(text, name="slow.py", by=settings(size=64))

    assert len(chunks) > 5
    assert {("def slow",)} == {chunk.heading_path for chunk in chunks}
    assert all(chunk.text.startswith("    if ") for chunk in chunks[1:])
    assert all("log(" in chunk.text.split("\n")[-1] for chunk in chunks)


def test_small_definitions_share_a_chunk() -> None:
    text = "def one():\n    return 1\n\n\ndef two():\n    return 2\n"

    (chunk,) = chunks_of(text, name="small.py", by=settings(size=64))

    assert text.strip() == chunk.text


def test_unknown_languages_are_cut_by_indentation_and_blank_lines() -> None:
    blocks = [
        f"task turn_{number}\n  let speed {number}\n  mill speed\nend"
        for number in range(12)
    ]

    text = "\n\n".join(blocks)
    segment = Segment(0, len(text), SegmentKind.CODE, language="millscript")
    chunks = chunks_of(text, (segment,), by=settings(size=48))

    assert blocks == "\n\n".join(chunk.text for chunk in chunks).split("\n\n")


def test_broken_code_is_still_cut_into_lines() -> None:
    text = "\n".join(f"def ((( {number} ]] class" for number in range(200))

    chunks = chunks_of(text, name="broken.py", by=settings(size=64))

    assert text.split("\n") == "\n".join(c.text for c in chunks).split("\n")


def test_a_file_longer_than_a_window_is_cut_the_same_way_throughout() -> None:
    functions = [
        f"def turn_{number}(wheel):\n    speed = wheel.speed\n    return {number}"
        for number in range(3000)
    ]
    text = "\n\n\n".join(functions)
    assert len(text) > 2 * 64 * 1024

    chunks = chunks_of(text, name="long.py", by=settings(size=64))

    assert functions == "\n\n\n".join(chunk.text for chunk in chunks).split("\n\n\n")
