"""Fetching by URL: what is refused before any connection, and every bound."""

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from headrace_loader.sources.fetched import Fetched
from headrace_loader.sources.guard import GuardedBackend, GuardedTransport, resolve
from headrace_loader.sources.urls import UrlSource

from headrace.errors import DocumentFailure


class Server:
    """Answers each path with bytes; counts connections."""

    def __init__(self) -> None:
        self.answers: dict[str, list[bytes]] = {}
        self.endless: set[str] = set()
        self.connections = 0
        self.requests: list[str] = []
        self.headers: list[bytes] = []
        self.port = 0

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def answer(
        self, path: str, body: bytes = b"", *headers: str, status: int = 200
    ) -> None:
        lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *headers]
        self.answers[path] = ["\r\n".join([*lines, "", ""]).encode(), body]

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.headers.append(head)
                path = head.split(b" ")[1].decode()
                self.requests.append(path)
                for block in self.answers[path]:
                    writer.write(block)
                    await writer.drain()
                while path in self.endless:
                    writer.write(b"x" * 65536)
                    await writer.drain()
                if not self.answers[path]:
                    await asyncio.Event().wait()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    listening = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = listening.sockets[0].getsockname()[1]
    yield found
    listening.close()


def source(
    server: Server,
    *,
    private: tuple[str, ...] = (),
    denied: tuple[str, ...] = (),
    names: dict[str, list[list[str]]] | None = None,
    max_bytes: int = 1_000_000,
    total_s: float = 20,
    ports: tuple[int, ...] | None = None,
) -> UrlSource:
    async def resolver(host: str, port: int) -> list[str]:
        if names is None or host not in names:
            return await resolve(host, port)
        answers = names[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    allowed = (80, 443, server.port) if ports is None else ports
    return UrlSource(
        GuardedTransport(
            GuardedBackend(
                ports=allowed,
                private_hosts=private,
                denied_hosts=denied,
                resolver=resolver,
            ),
            ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        ),
        ports=allowed,
        max_bytes=max_bytes,
        total_s=total_s,
        connect_s=5,
        max_redirects=5,
    )


async def fetch(urls: UrlSource, url: str, tmp_path: Path) -> tuple[Fetched, bytes]:
    try:
        fetched = await urls.fetch(url, tmp_path / "file")
    finally:
        await urls.close()
    return fetched, (tmp_path / "file").read_bytes()


async def failure(urls: UrlSource, url: str, tmp_path: Path) -> DocumentFailure:
    with pytest.raises(DocumentFailure) as raised:
        await fetch(urls, url, tmp_path)
    return raised.value


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://[64:ff9b::7f00:1]:{port}/",
        "http://[2002:7f00:1::]:{port}/",
        "http://localhost:{port}/",
        "http://LOCALHOST:{port}/",
        "http://0:{port}/",
        "http://127.1:{port}/",
        "http://2130706433:{port}/",
        "http://0177.0.0.1:{port}/",
        "http://0x7f000001:{port}/",
        "http://0x7f.0.0.1:{port}/",
        "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.100.100.200/",
        "http://192.0.0.192/",
        "http://[fd00:ec2::254]/",
        "http://public.example@127.0.0.1:{port}/",
        "http://user:secret@public.example/",
        "http://rebinds.example:{port}/",
        "http://two-faced.example:{port}/",
        "http://broker.example:{port}/",
        "http://public.example:22/",
        "http://public.example:9092/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:{port}/",
        "ftp://127.0.0.1/",
        "http://",
        "http:///x",
        "http://[::1",
        "http://public.example/" + "x" * 2048,
    ],
)
async def test_what_leads_inside_is_refused_without_a_connection(
    server: Server, tmp_path: Path, url: str
) -> None:
    server.answer("/", b"inside")
    names = {
        "public.example": [["93.184.216.34"]],
        "two-faced.example": [["93.184.216.34", "127.0.0.1"]],
        "rebinds.example": [["127.0.0.1"]],
        "broker.example": [["93.184.216.34"]],
    }
    urls = source(server, names=names, denied=("Broker.example",))

    found = await failure(urls, url.format(port=server.port), tmp_path)

    assert (found.code, found.retryable) == ("blocked_url", False)
    assert "inside" not in found.message
    assert "secret" not in found.message
    assert server.connections == 0


async def test_a_redirect_inside_is_refused_without_a_connection(
    server: Server, tmp_path: Path
) -> None:
    target = Server()
    listening = await asyncio.start_server(target.serve, "127.0.0.1", 0)
    target.port = listening.sockets[0].getsockname()[1]
    server.answer("/a", b"", f"location: {target.url('/b')}", status=302)
    urls = source(
        server,
        private=("front.example",),
        names={"front.example": [["127.0.0.1"]]},
        ports=(80, server.port, target.port),
    )

    found = await failure(urls, server.url("/a", "front.example"), tmp_path)

    assert found.code == "blocked_url"
    assert (server.connections, target.connections) == (1, 0)
    listening.close()


async def test_a_name_is_resolved_once_and_the_checked_address_is_used(
    server: Server, tmp_path: Path
) -> None:
    server.answer("/a", b"body")
    answers = [["127.0.0.1"], ["10.0.0.1"]]
    urls = source(server, private=("in.example",), names={"in.example": answers})

    _, data = await fetch(urls, server.url("/a", "in.example"), tmp_path)

    assert data == b"body"
    assert answers == [["10.0.0.1"]]
    assert b"host: in.example" in server.headers[0].lower()


async def test_an_allowed_private_host_is_fetched_with_name_and_type(
    server: Server, tmp_path: Path
) -> None:
    server.answer(
        "/dir/report%20one.html?x=1",
        b"body",
        "content-type: text/html; charset=latin-1",
    )
    urls = source(server, private=("127.0.0.1",))

    fetched, data = await fetch(
        urls, server.url("/dir/report%20one.html?x=1#part"), tmp_path
    )

    assert data == b"body"
    assert fetched.name == "report one.html"
    assert fetched.media_type == "text/html; charset=latin-1"
    assert fetched.size == 4


async def test_the_server_may_name_the_file(server: Server, tmp_path: Path) -> None:
    server.answer("/x", b"", 'content-disposition: attachment; filename="../a.pdf"')

    fetched, _ = await fetch(
        source(server, private=("127.0.0.1",)), server.url("/x"), tmp_path
    )

    assert fetched.name == "../a.pdf"


async def test_redirects_are_followed_and_counted(
    server: Server, tmp_path: Path
) -> None:
    for number in range(5):
        server.answer(f"/{number}", b"", f"location: /{number + 1}", status=301)
    server.answer("/5", b"there")
    assert (
        await fetch(source(server, private=("127.0.0.1",)), server.url("/0"), tmp_path)
    )[1] == b"there"

    server.answer("/5", b"", "location: /0", status=307)
    found = await failure(
        source(server, private=("127.0.0.1",)), server.url("/0"), tmp_path
    )
    assert (found.code, found.retryable) == ("too_many_redirects", False)


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (404, "url_not_found", False),
        (410, "url_not_found", False),
        (401, "url_refused", False),
        (403, "url_refused", False),
        (408, "url_refused", True),
        (429, "url_refused", True),
        (500, "url_refused", True),
        (503, "url_refused", True),
        (304, "url_refused", False),
    ],
)
async def test_a_status_decides_whether_to_try_again(
    server: Server,
    tmp_path: Path,
    status: int,
    code: str,
    retryable: bool,  # noqa: FBT001
) -> None:
    server.answer("/a", b"the body tells", status=status)

    found = await failure(
        source(server, private=("127.0.0.1",)), server.url("/a"), tmp_path
    )

    assert (found.code, found.retryable) == (code, retryable)
    assert "tells" not in found.message + found.advice


@pytest.mark.parametrize("stated", [True, False])
async def test_a_body_over_the_limit_is_cut_off(
    server: Server,
    tmp_path: Path,
    stated: bool,  # noqa: FBT001
) -> None:
    if stated:
        server.answers["/a"] = [
            b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n"
        ]
    else:
        server.answers["/a"] = [b"HTTP/1.1 200 OK\r\n\r\n"]
    server.endless.add("/a")

    found = await failure(
        source(server, private=("127.0.0.1",)), server.url("/a"), tmp_path
    )

    assert (found.code, found.retryable) == ("document_too_large", False)


async def test_a_gzipped_body_is_unpacked_and_a_bomb_is_cut_off(
    server: Server, tmp_path: Path
) -> None:
    server.answer("/a", gzip.compress(b"packed" * 100_000), "content-encoding: gzip")
    urls = source(server, private=("127.0.0.1",))
    assert (await fetch(urls, server.url("/a"), tmp_path))[1] == b"packed" * 100_000

    server.answer("/a", gzip.compress(bytes(20_000_000)), "content-encoding: gzip")
    found = await failure(
        source(server, private=("127.0.0.1",)), server.url("/a"), tmp_path
    )
    assert found.code == "document_too_large"
    assert (tmp_path / "file").stat().st_size <= 1_000_000


@pytest.mark.parametrize(
    "answer",
    [
        [b"SSH-2.0-OpenSSH\r\n"],
        [b"<html>no status line</html>"],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort", b""],
        [b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc"],
    ],
)
async def test_an_answer_that_is_broken_is_tried_again(
    server: Server, tmp_path: Path, answer: list[bytes]
) -> None:
    server.answers["/a"] = answer

    async def close_after(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.writelines(answer)
        writer.close()

    listening = await asyncio.start_server(close_after, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    found = await failure(
        source(server, private=("127.0.0.1",)), server.url("/a"), tmp_path
    )
    listening.close()

    assert (found.code, found.retryable) == ("url_unreachable", True)
    assert "SSH" not in found.message


async def test_a_server_that_never_answers_is_given_up(
    server: Server, tmp_path: Path
) -> None:
    server.answers["/a"] = []

    found = await failure(
        source(server, private=("127.0.0.1",), total_s=0.3), server.url("/a"), tmp_path
    )

    assert (found.code, found.retryable) == ("url_timeout", True)


async def test_a_host_that_is_gone_is_tried_again(
    server: Server, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    urls = source(server, private=("127.0.0.1",), ports=(port,))

    found = await failure(urls, f"http://127.0.0.1:{port}/", tmp_path)

    assert (found.code, found.retryable) == ("url_unreachable", True)


async def test_no_proxy_of_the_environment_is_asked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server.answer("/a", b"direct")

    urls = source(server, private=("127.0.0.1",))

    assert (await fetch(urls, server.url("/a"), tmp_path))[1] == b"direct"
