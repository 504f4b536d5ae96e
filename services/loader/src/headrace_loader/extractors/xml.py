"""XML parts of Office containers: read as they stream, nothing resolved or fetched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from lxml import etree


def events(
    part: IO[bytes], *, starts: tuple[str, ...] = (), ends: tuple[str, ...] = ()
) -> Iterator[tuple[str, Any]]:
    """The ``start`` and ``end`` events of these tags, in document order.

    Entities are not resolved, and no more than 256 levels or 10 MB of one text are
    taken; what is beyond is a syntax error.
    """
    wanted_start, wanted_end = frozenset(starts), frozenset(ends)
    parsing = etree.iterparse(
        part,
        events=("start", "end"),
        tag=[*wanted_start | wanted_end],
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    for event, element in parsing:
        if element.tag in (wanted_start if event == "start" else wanted_end):
            yield event, element


def drop(element: Any) -> None:
    """Free an element that is done with, and all before it on its level."""
    element.clear(keep_tail=True)
    parent = element.getparent()
    if parent is None:
        return
    while element.getprevious() is not None:
        del parent[0]


def tree(part: IO[bytes]) -> Any:
    """A small part as a whole; same bounds."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    return etree.parse(part, parser).getroot()
