"""Writes those documents of examples/documents that are not plain text.

``python examples/make_documents.py`` makes the same files each time: fixed dates,
nothing random.
"""

from __future__ import annotations

import datetime as dt
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import docx
import openpyxl
import pptx

FOLDER = Path(__file__).with_name("documents")
WRITTEN = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
AUTHOR = "Alder Ford watermill museum"

GUIDE = [
    [
        "A guide to the mill",
        "",
        "Start at the pond. The heron on the far bank is called Leopold and has",
        "fished here since before the museum opened.",
        "Follow the channel to the breastshot wheel, five metres and twenty across.",
        "Its forty buckets are of larch and are renewed one by one each winter.",
    ],
    [
        "The gears",
        "",
        "Inside, the pit wheel drives the wallower, and the wallower the great spur",
        "wheel. Its cogs are of apple wood: when something jams, a cog breaks and",
        "not the iron. Spare cogs season for seven years above the kitchen stove.",
    ],
]

TALE = """<?xml version="1.0" encoding="utf-8"?>
<html xmlns="http://www.w3.org/1999/xhtml"><head><title>{title}</title></head>
<body><h1>{title}</h1>{body}</body></html>
"""
TALES = [
    (
        "The cat who counted sacks",
        (
            "<p>Every evening the grey cat Griselda sat on the scales and purred once "
            "for each sack that the carter had forgotten to pay for.</p>"
        ),
    ),
    (
        "The drowned bell",
        (
            "<p>They say that the chapel bell lies in the mill pond, and that it rings "
            "when somebody sells short weight on a market day.</p>"
        ),
    ),
]


def pdf(pages: list[list[str]]) -> bytes:
    """A PDF with one of the fonts that every reader has."""
    objects: list[bytes] = []
    count = len(pages)
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(count))
    objects.append(b"<< /Type /Catalog /Pages 2 0 R >>")
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {count} >>".encode())
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for number, lines in enumerate(pages):
        shown = [f"({line}) Tj T*" for line in lines]
        stream = "\n".join(["BT /F1 12 Tf 16 TL 72 740 Td", *shown, "ET"]).encode()
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] "
            f"/Resources << /Font << /F1 3 0 R >> >> "
            f"/Contents {5 + 2 * number} 0 R >>".encode()
        )
        objects.append(
            f"<< /Length {len(stream)} >>\nstream\n".encode() + stream + b"\nendstream"
        )
    out = io.BytesIO()
    out.write(b"%PDF-1.4\n")
    places: list[int] = []
    for number, body in enumerate(objects, start=1):
        places.append(out.tell())
        out.write(f"{number} 0 obj\n".encode() + body + b"\nendobj\n")
    table = out.tell()
    out.write(f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode())
    out.writelines(f"{place:010} 00000 n \n".encode() for place in places)
    out.write(
        f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\n"
        f"startxref\n{table}\n%%EOF\n".encode()
    )
    return out.getvalue()


def word() -> bytes:
    """The restoration plan."""
    document = docx.Document()
    document.add_heading("Restoration plan", level=1)
    document.add_paragraph(
        "The roof of the bakehouse comes first: its slates are held by rusty nails "
        "since the hailstorm of Saint Swithin's day."
    )
    document.add_heading("Costs", level=2)
    table = document.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "Work", "Euro"
    for work, cost in [("Slates", "18,400"), ("Lead flashing", "3,150")]:
        cells = table.add_row().cells
        cells[0].text, cells[1].text = work, cost
    document.add_heading("Who does it", level=2)
    document.add_paragraph(
        "The carpenter Philomena Krug leads the work with four apprentices from the "
        "guild school."
    )
    return _saved(document.save)


def slides() -> bytes:
    """The guided tour."""
    presentation = pptx.Presentation()
    for title, text in [
        ("The guided tour", "Forty-five minutes, at most eighteen people."),
        (
            "Stop three: the sack loft",
            (
                "Let the children pull the hoist. The knot is a bowline on a bight; "
                "the millers called it the sleeping swan."
            ),
        ),
        ("Goodbye", "Everybody gets a warm roll with caraway from the bakehouse."),
    ]:
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = text
    return _saved(presentation.save)


def workbook() -> bytes:
    """The grain ledger."""
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    sheet = book.create_sheet("Deliveries")
    sheet.append(["Farmer", "Grain", "Sacks", "Remark"])
    sheet.append(["Hollis of Upper Marsh", "buckwheat", 14, "damp, dried in the kiln"])
    sheet.append(["Widow Tamsin Orchard", "emmer", 9, "for the wedding cake"])
    sheet.append(["Quarry Farm", "rye", 31, "paid in limestone"])
    wages = book.create_sheet("Wages")
    wages.append(["Name", "Days", "Shillings"])
    wages.append(["Ned the stoker", 6, 11])
    return _saved(book.save)


def book() -> bytes:
    """The tales, as an EPUB."""
    items = "".join(
        f'<item id="c{n}" href="c{n}.xhtml" media-type="application/xhtml+xml"/>'
        for n in range(len(TALES))
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in range(len(TALES)))
    package = (
        '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" '
        'version="3.0" unique-identifier="id"><metadata '
        'xmlns:dc="http://purl.org/dc/elements/1.1/">'
        '<dc:identifier id="id">alder-ford-tales</dc:identifier>'
        "<dc:title>Tales of the mill</dc:title><dc:language>en</dc:language>"
        f"</metadata><manifest>{items}</manifest><spine>{spine}</spine></package>"
    )
    container = (
        '<?xml version="1.0"?><container version="1.0" '
        'xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="book/package.opf" '
        'media-type="application/oebps-package+xml"/></rootfiles></container>'
    )
    members = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": container,
        "book/package.opf": package,
    }
    for number, (title, body) in enumerate(TALES):
        members[f"book/c{number}.xhtml"] = TALE.format(title=title, body=body)
    return _archive({name: text.encode() for name, text in members.items()})


def _saved(save: Callable[[io.BytesIO], object]) -> bytes:
    """What an Office library writes, without the hour it was written."""
    out = io.BytesIO()
    save(out)
    stamp = WRITTEN.strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    members: dict[str, bytes] = {}
    with zipfile.ZipFile(out) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "docProps/core.xml":
                content = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", stamp, content)
                content = content.replace(b"python-docx", AUTHOR.encode())
            members[name] = content
    return _archive(members)


def _archive(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo(name, WRITTEN.timetuple()[:6])
            stored = name == "mimetype"
            kind = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            archive.writestr(member, content, compress_type=kind)
    return out.getvalue()


def main() -> None:
    """Write them all."""
    for path, content in {
        "guide/visitor-guide.pdf": pdf(GUIDE),
        "guide/tales-of-the-mill.epub": book(),
        "office/restoration-plan.docx": word(),
        "office/guided-tour.pptx": slides(),
        "office/grain-ledger.xlsx": workbook(),
    }.items():
        target = FOLDER / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


if __name__ == "__main__":
    main()
