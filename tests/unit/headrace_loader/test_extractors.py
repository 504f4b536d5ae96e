"""Each kind of document, from real small files to text and structure."""

import io
import sys
import zlib

import pytest
from headrace_loader.extractors.dispatch import identify, read
from headrace_loader.extractors.source import Limits, Source
from headrace_loader.kinds import Kind
from headrace_loader.pieces import text_parts

from headrace.errors import DocumentFailure
from headrace.messages import Segment, SegmentKind
from tests.unit.headrace_loader import documents

Found = list[tuple[SegmentKind, int, tuple[str, ...], str]]


def extract(data: bytes, **about: object) -> tuple[str, list[Segment]]:
    source = Source(io.BytesIO(data), **about)  # type: ignore[arg-type]
    parts = list(text_parts(read(source, identify(source)).pieces))
    text = "".join(part.text for part in parts)
    return text, [segment for part in parts for segment in part.segments]


def outline(data: bytes, **about: object) -> Found:
    text, segments = extract(data, **about)
    return [
        (s.kind, s.page, s.heading_path, text[s.start : s.end].strip())
        for s in segments
    ]


def failure(data: bytes, **about: object) -> DocumentFailure:
    with pytest.raises(DocumentFailure) as raised:
        extract(data, **about)
    return raised.value


H, P, T, C = (
    SegmentKind.HEADING,
    SegmentKind.PROSE,
    SegmentKind.TABLE,
    SegmentKind.CODE,
)


def test_docx_has_headings_paragraphs_and_tables_in_order() -> None:
    spring = ("River report", "Spring")
    assert outline(documents.docx_file()) == [
        (H, 0, ("River report",), "River report"),
        (H, 0, spring, "Spring"),
        (P, 0, spring, "The water rose by two metres.\n\nfirst item"),
        (T, 0, spring, "Month | Level\nMarch | 3\nApril | 5"),
        (H, 0, (*spring, "Summer"), "Summer"),
        (P, 0, (*spring, "Summer"), "It fell\tagain."),
    ]


def test_docx_leaves_out_what_was_deleted_and_second_versions() -> None:
    w = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    mc = "http://schemas.openxmlformats.org/markup-compatibility/2006"
    box = "<w:txbxContent><w:p><w:r><w:t>{}</w:t></w:r></w:p></w:txbxContent>"
    xml = (
        f'<w:document xmlns:w="{w}" xmlns:mc="{mc}"><w:body><w:p>'
        "<w:r><w:t>kept</w:t></w:r><w:del><w:r><w:delText>gone</w:delText></w:r></w:del>"
        f"<w:r><mc:AlternateContent><mc:Choice>{box.format(' box')}</mc:Choice>"
        f"<mc:Fallback>{box.format(' twin')}</mc:Fallback></mc:AlternateContent></w:r>"
        "</w:p></w:body></w:document>"
    )

    text, _ = extract(documents.zip_file({"word/document.xml": xml.encode()}))

    assert text == "kept box\n\n"


def test_pptx_has_slides_as_pages_with_titles_tables_and_notes() -> None:
    data = documents.pptx_file()
    assert outline(data) == [
        (H, 1, ("Turbines",), "Turbines"),
        (P, 1, ("Turbines",), "Kaplan\nFrancis"),
        (P, 1, ("Turbines",), "Mention Pelton."),
        (H, 2, ("Numbers",), "Numbers"),
        (T, 2, ("Numbers",), "Type | Head\nKaplan | 20"),
    ]
    assert [s.section for s in extract(data)[1]] == ["", "", "notes", "", ""]


def test_xlsx_has_sheets_as_pages_and_rows_as_lines() -> None:
    data = documents.xlsx_file()
    assert outline(data) == [
        (H, 1, ("Gauges",), "Gauges"),
        (T, 1, ("Gauges",), "Station | Level | Open\nKöln | 3.5 | TRUE\nBonn | 4"),
        (H, 3, ("Notes",), "Notes"),
        (T, 3, ("Notes",), "one cell"),
    ]
    segments = extract(data)[1]
    assert [s.has_header for s in segments] == [False, True, False, False]
    assert [s.section for s in segments] == ["Gauges", "Gauges", "Notes", "Notes"]


def test_epub_has_chapters_in_the_order_of_the_spine() -> None:
    assert outline(documents.epub_file()) == [
        (H, 0, ("Source",), "Source"),
        (P, 0, ("Source",), "It springs."),
        (H, 0, ("Mouth",), "Mouth"),
        (P, 0, ("Mouth",), "It ends."),
    ]


def test_an_epub_whose_chapters_are_locked_says_so() -> None:
    lock = (
        b'<encryption xmlns:e="urn:e"><e:CipherReference URI="OPS/one.xhtml"/>'
        b"</encryption>"
    )
    data = documents.epub_file(**{"META-INF/encryption.xml": lock})

    assert failure(data).code == "encrypted"


def test_mail_has_headers_body_and_attachments_one_level_deep() -> None:
    text, segments = extract(documents.mail_file())

    assert segments[0].kind is H
    assert text.startswith("Übergabe der Schlüssel\n\nFrom: Ada <ada@example.com>\n")
    assert "The key is under the stone." in text
    assert "html twin" not in text
    assert "a | b | c\n1 | 2 | 3\n" in text
    assert "The water rose by two metres." in text
    assert "Attachment: p.png\n\n(unsupported_type)" in text
    assert {s.section for s in segments} == {
        "",
        "list.csv",
        "../../report.docx",
        "p.png",
    }
    assert ("Übergabe der Schlüssel", "River report", "Spring") in {
        s.heading_path for s in segments
    }


def test_html_has_its_main_text_with_structure_and_nothing_around_it() -> None:
    page = """<!doctype html><html><head><title>Site</title><script>var x</script>
    <style>p{}</style></head><body><nav>Home</nav><header>Brand</header><main>
    <h1>Mills <em>and</em> rivers</h1><p>First <b>bo</b>ld
    line.<br>Second &lt;tag&gt;.</p><h2>Kinds</h2><ul><li>over<li>under</ul>
    <table><tr><th>A<th>B</tr><tr><td>1<td>2</table>
    <pre><code class="language-python">def f():
    return 1</code></pre><p hidden>secret</p>tail</main><footer>Imprint</footer>"""
    kinds = ("Mills and rivers", "Kinds")
    assert outline(page.encode()) == [
        (H, 0, kinds[:1], "Mills and rivers"),
        (P, 0, kinds[:1], "First bold line.\nSecond <tag>."),
        (H, 0, kinds, "Kinds"),
        (P, 0, kinds, "- over\n- under"),
        (T, 0, kinds, "A | B\n1 | 2"),
        (C, 0, kinds, "def f():\n    return 1"),
        (P, 0, kinds, "tail"),
    ]
    languages = [s.language for s in extract(page.encode())[1] if s.kind is C]
    assert languages == ["python"]


def test_html_without_a_heading_has_its_title_and_layout_tables_are_no_tables() -> None:
    page = (
        "<html><title>Old page</title><body><table><tr><td>menu<td><table><tr>"
        "<td>inner<td>cells</table></table>"
    )
    assert [entry[3] for entry in outline(page.encode())] == [
        "Old page",
        "menu",
        "inner | cells",
    ]


def test_html_is_decoded_as_it_says() -> None:
    page = '<html><meta charset="iso-8859-7"><body><p>Ωμέγα</p>'

    assert "Ωμέγα" in extract(page.encode("iso-8859-7"))[0]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_has_rows_as_lines_whatever_the_delimiter(delimiter: str) -> None:
    rows = ['Name,Value,"with, comma"', 'Ä,1,"two\nlines"', ",,"]
    data = "\r\n".join(rows).replace('"with, comma"', "Other").replace(",", delimiter)

    text, segments = extract(data.encode("utf-8-sig"), name="x.csv")

    assert text == "Name | Value | Other\nÄ | 1 | two lines\n"
    assert [(s.kind, s.has_header) for s in segments] == [(T, True)]


def test_a_csv_of_numbers_has_no_header() -> None:
    assert not extract(b"1,2\n3,4\n", name="x.csv")[1][0].has_header


def test_json_is_flattened_to_lines_that_say_what_they_are() -> None:
    data = (
        b'[{"a":{"b":1.50},"tags":["x","y"],"t":true,"n":null,"l":[{"c":"d"}]},{"a":2}]'
    )

    assert extract(data)[0] == "a.b: 1.50\ntags: x, y\nt: true\nl.c: d\n\na: 2\n\n"


def test_json_lines_are_records_and_a_broken_one_is_kept_as_it_is() -> None:
    data = b'{"a":1}\n{"a":2}\n{"a":\n{"a":3}\n'

    assert extract(data)[0] == 'a: 1\n\na: 2\n\n{"a":\n\na: 3\n\n'


@pytest.mark.parametrize(
    "data", [b"[2026-01-01] started\n[x", b"{ not json }", b"[" * 9999]
)
def test_what_only_looks_like_json_is_text(data: bytes) -> None:
    assert extract(data)[0] == data.decode()


def test_code_is_as_it_was_with_its_language() -> None:
    code = "def f():\r\n\treturn '\x00ä'\n"

    text, segments = extract(code.replace("\0", "").encode(), name="f.py")

    assert text == "def f():\n\treturn 'ä'\n"
    assert [(s.kind, s.language) for s in segments] == [(C, "python")]


@pytest.mark.parametrize("compress", [True, False])
def test_pdf_has_its_pages(compress: bool) -> None:  # noqa: FBT001
    data = documents.pdf_file(["One (1)", "", "Three é"], compress=compress)

    assert outline(data) == [(P, 1, (), "One (1)"), (P, 3, (), "Three é")]
    assert outline(data, cautious=True) == outline(data)


def test_a_pdf_that_no_reader_opens_gives_up_its_strings() -> None:
    stream = zlib.compress(rb"BT (The \(old\) mill) Tj [(still) -200 ( turns)] TJ ET")
    data = b"%PDF-1.4\nstream\n" + stream + b"\nendstream\n"

    assert extract(data)[0].split("\n")[:2] == ["The (old) mill", "still turns"]


def test_an_encrypted_pdf_says_so() -> None:
    assert failure(documents.pdf_file(["x"], encrypted=True)).code == "encrypted"


def test_an_encrypted_office_file_says_so() -> None:
    data = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le")

    assert failure(data).code == "encrypted"


@pytest.mark.parametrize(
    "data",
    [
        documents.pdf_file([""]),
        documents.zip_file({"word/document.xml": b"<a/>"}),
        b"<html><script>app()</script>",
    ],
)
def test_a_document_without_text_says_so(data: bytes) -> None:
    assert failure(data).code == "no_text"


@pytest.mark.parametrize("name", ["x.txt", "x.csv", "x.json", "x.md", "x.py", ""])
def test_an_empty_text_is_an_empty_document(name: str) -> None:
    assert extract(b"", name=name) == ("", [])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png"),
        (b"\x7fELF\x02\x01\x01\0\0\0", "data"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "gzip"),
        (b"{\\rtf1\\ansi hello}", "data"),
        (documents.zip_file({"a.txt": b"hello"}), "a zip archive"),
        (
            documents.zip_file(
                {"mimetype": b"application/vnd.oasis.opendocument.text"}
            ),
            "opendocument",
        ),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "before 2007"),
    ],
)
def test_a_type_without_an_extractor_is_named(data: bytes, said: str) -> None:
    found = failure(data, name="innocent.txt", media_type="text/plain")

    assert found.code == "unsupported_type"
    assert said in found.message


def test_the_content_decides_whatever_name_and_declaration_say() -> None:
    source = Source(
        io.BytesIO(documents.pdf_file(["x"])), name="x.txt", media_type="text/html"
    )

    assert identify(source).kind is Kind.PDF


@pytest.mark.parametrize(
    "make",
    [
        documents.docx_file,
        documents.pptx_file,
        documents.xlsx_file,
        documents.epub_file,
        documents.mail_file,
        lambda: documents.pdf_file(["a", "b"]),
    ],
)
def test_the_same_bytes_give_the_same_text_and_segments(make: object) -> None:
    data: bytes = make()  # type: ignore[operator]

    assert extract(data) == extract(data)


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.9])
@pytest.mark.parametrize(
    "make",
    [documents.docx_file, documents.epub_file, lambda: documents.pdf_file(["abc"])],
)
def test_a_truncated_file_is_a_document_failure_or_what_is_left(
    make: object, cut: float
) -> None:
    data: bytes = make()  # type: ignore[operator]
    try:
        extract(data[: int(len(data) * cut)])
    except DocumentFailure as found:
        assert found.code in {"malformed_document", "no_text"}  # noqa: PT017


@pytest.mark.parametrize(
    ("members", "limits"),
    [
        ({"word/document.xml": b" " * 3_000_000}, Limits()),
        ({"word/document.xml": b"x" * 2000}, Limits(unpacked_bytes=1000)),
        ({f"word/{n}": b"" for n in range(20)}, Limits(archive_members=10)),
    ],
)
def test_an_archive_over_its_limits_is_not_unpacked(
    members: dict[str, bytes], limits: Limits
) -> None:
    assert failure(documents.zip_file(members), limits=limits).code == "resource_limit"


def test_members_that_overlap_are_a_bomb() -> None:
    data = bytearray(
        documents.zip_file({"a": b"x" * 500, "word/document.xml": b"y" * 500})
    )
    # Let the second entry of the directory point at the first member.
    second = data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = bytes(4)

    assert failure(bytes(data)).code == "resource_limit"


def test_names_in_archives_are_never_paths() -> None:
    data = documents.epub_file(
        **{"../../evil": b"x", "/etc/evil": b"x", "a\\..\\evil": b"x"}
    )

    assert "It springs." in extract(data)[0]


def test_entities_are_not_resolved_and_nothing_is_fetched(tmp_path: object) -> None:
    canary = tmp_path / "canary"  # type: ignore[operator]
    canary.write_text("canary-text")
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    xml = (
        f'<!DOCTYPE d [<!ENTITY l0 "ha">{laughs}<!ENTITY x SYSTEM "file://{canary}">'
        '<!ENTITY % e SYSTEM "http://127.0.0.1:9/e.dtd"> %e;]>'
        '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/'
        'main"><w:body><w:p><w:r><w:t>before &l11; &x; after</w:t></w:r></w:p></w:body>'
        "</w:document>"
    )
    try:
        text, _ = extract(documents.zip_file({"word/document.xml": xml.encode()}))
    except Exception as error:  # noqa: BLE001  a syntax error is as good
        text = str(error)

    assert "canary-text" not in text
    assert len(text) < 1000


def test_the_parent_process_needs_none_of_the_parsers() -> None:
    import subprocess  # noqa: PLC0415

    heavy = "pypdfium2 pypdf lxml openpyxl selectolax charset_normalizer puremagic"
    code = (
        "import sys, headrace_loader.app\n"
        f"print(*[n for n in {heavy.split()!r} if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == ""
