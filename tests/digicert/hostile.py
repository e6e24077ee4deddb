"""Ways in which a server can answer a request for the list of certificates, and what a client may make of each."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from runbook_lib.digicert.environments import Environment
from tests.digicert.conftest import API_KEY, self_signed

Answer = Callable[["Asked"], None]

ERROR = "an error"


@dataclass(frozen=True)
class Rows:
    """A list of so many rows that is whole, or says that it may not be."""

    count: int
    whole: bool = True


@dataclass
class Asked:
    """A request, and the way to answer it."""

    connection: ssl.SSLSocket
    path: str
    number: int
    """How many requests came before it."""
    head: bytes = b""
    """Its request line and headers."""

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.connection.sendall(part)

    def drip(self, content: bytes, pause: float = 0.05) -> None:
        for number in range(len(content)):
            self.send(content[number : number + 1])
            time.sleep(pause)


@dataclass
class Hostile:
    """A server that answers as `answer` does."""

    environment: Environment
    answer: Answer = field(default=lambda asked: None)
    requests: list[bytes] = field(default_factory=list)

    def serve(self, connection: ssl.SSLSocket) -> None:
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                part = connection.recv(65536)
                if not part:
                    return
                head += part
            self.requests.append(head)
            path = head.split(b" ", 2)[1].decode("latin-1")
            self.answer(Asked(connection, path, len(self.requests) - 1, head))
        except OSError:
            pass  # the client has had enough
        finally:
            connection.close()


@contextmanager
def hostile_server(folder: Path, known_by: tuple[Path, ssl.SSLContext] | None = None) -> Iterator[Hostile]:
    """One on a loopback port of its own; each connection ends after its answer.

    Args:
        known_by: the file that trusts it, and its context; made in `folder` where there is none.
    """
    ca, context = known_by or self_signed(folder)
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"https://localhost:{listener.getsockname()[1]}"
    server = Hostile(Environment("sandbox", url, url, ca))

    def handle(plain: socket.socket) -> None:
        plain.settimeout(60)
        try:
            connection = context.wrap_socket(plain, server_side=True)
        except OSError:
            plain.close()
        else:
            server.serve(connection)

    def accept() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            Thread(target=handle, args=(plain,), daemon=True).start()

    Thread(target=accept, daemon=True).start()
    yield server
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


# --- what is sent -----------------------------------------------------------------------------------------------------


def one(number: int, **changes: Any) -> dict[str, Any]:
    """A certificate as documented; a change of None takes a field away."""
    entry = {"id": f"c{number}", "name": f"n{number}", "end_date": "2027-01-01T00:00:00Z", "enabled": True} | changes
    return {name: value for name, value in entry.items() if value is not ...}


ALL = [one(number) for number in range(57)]
BARE = [one(number, id=...) for number in range(57)]
LIST = json.dumps(ALL[:2]).encode()
JSON = b"Content-Type: application/json\r\n"


def http(body: bytes, *headers: str, status: str = "200 OK", length: bool = True) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Connection: close", *headers]
    lines += [f"Content-Length: {len(body)}"] if length else []
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def says(body: Any, *headers: str, status: str = "200 OK") -> Answer:
    """Answers with this body: bytes, text, or what is to become JSON."""
    content = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    return lambda asked: asked.send(http(content, *headers, status=status))


def raw(*parts: bytes) -> Answer:
    return lambda asked: asked.send(*parts)


def endless(part: bytes, before: bytes = b"") -> Answer:
    """Sends without end, as fast as it goes."""

    def answer(asked: Asked) -> None:
        asked.send(before)
        while True:
            asked.send(part * (65536 // len(part) + 1))

    return answer


def slow(content: bytes, before: bytes = b"") -> Answer:
    """Sends a byte now and then, and each in time for a socket's timeout."""

    def answer(asked: Asked) -> None:
        asked.send(before)
        while True:
            asked.drip(content)

    return answer


def paged(
    shape: Callable[[list[Any], Asked, int], Any], size: int = 20, rows: list[Any] = ALL, by: str = "offset"
) -> Answer:
    """Answers with pages; `shape` makes of a page's entries and where it begins what is sent."""

    def answer(asked: Asked) -> None:
        begin = int(asked.query.get(by, "0") or "0")
        said = shape(rows[begin : begin + 20], asked, begin)
        body, headers = said if isinstance(said, tuple) else (said, ())
        asked.send(http(json.dumps(body).encode(), *headers))

    return answer


def total(value: Any, name: str = "total") -> Answer:
    return paged(lambda page, asked, begin: {name: value, "items": page})


def after(name: str, parameter: str) -> Answer:
    """A field that holds where the next page begins."""
    return paged(
        lambda page, asked, begin: {name: str(begin + 20) if begin + 20 < 57 else None, "items": page}, by=parameter
    )


def again(body: Any) -> Answer:
    """The same page, whatever is asked for."""
    return says(body)


def link(begin: int, query: str = "offset", host: str = "") -> tuple[str, ...]:
    path = f"{host}/account/api/v1/client-auth-certificate?{query}={begin + 20}"
    return (f'Link: <{path}>; rel="next"',) if begin + 20 < 57 else ()


def bomb(size: int = 40 * 2**20) -> bytes:
    """gzip of so many spaces, as far as its checksum: nobody should come so far."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    part = packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    return gzip.compress(b"")[:10] + part * (size // 2**20)


def overlapping(asked: Asked) -> None:
    begin = max(0, int(asked.query.get("offset", "1")) - 1)
    asked.send(http(json.dumps({"total": 57, "items": ALL[begin : begin + 20]}).encode()))


def shrinking(asked: Asked) -> None:
    begin, size = int(asked.query.get("offset", "0")), max(0, 20 - 10 * asked.number)
    asked.send(http(json.dumps({"total": 57, "items": ALL[begin : begin + size]}).encode()))


def endless_pages(asked: Asked) -> None:
    page = [one(asked.number * 3 + number) for number in range(3)]
    asked.send(http(json.dumps({"has_more": True, "items": page}).encode()))


def breaks_off(asked: Asked) -> None:
    if asked.number == 0:
        asked.send(http(json.dumps({"total": 57, "items": ALL[:20]}).encode()))


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%s\r\n" % (len(LIST), LIST)
LATIN = json.dumps([one(1, name="Zürich")], ensure_ascii=False).encode("latin-1")

TRANSPORT: dict[str, tuple[Answer, Any]] = {
    "nothing": (raw(), ERROR),
    "garbage": (raw(b"\x00\xff" * 500), ERROR),
    "http 0.9": (raw(LIST), ERROR),
    "another protocol": (raw(b"220 mail.example ESMTP\r\n"), ERROR),
    "no status": (raw(b"HTTP/1.1\r\n\r\n" + LIST), ERROR),
    "status in words": (raw(b"HTTP/1.1 fine\r\n\r\n" + LIST), ERROR),
    "negative status": (raw(b"HTTP/1.1 -200 OK\r\n\r\n" + LIST), ERROR),
    "status of four digits": (raw(b"HTTP/1.1 2000 OK\r\n\r\n" + LIST), ERROR),
    "status line of 70 KB": (raw(b"HTTP/1.1 200 " + b"x" * 70_000 + b"\r\n\r\n" + LIST), ERROR),
    "header of 70 KB": (raw(OK + b"X: " + b"x" * 70_000 + b"\r\n\r\n" + LIST), ERROR),
    "200 headers": (raw(OK + b"X: x\r\n" * 200 + b"\r\n" + LIST), ERROR),
    "headers without end": (endless(b"X: x\r\n", OK), ERROR),
    "a line without end": (endless(b"x", b"HTTP/1.1 200 "), ERROR),
    "a header of NULs": (raw(OK + b"X: \x00\x00\r\nContent-Length: %d\r\n\r\n" % len(LIST) + LIST), Rows(2)),
    "line feeds alone": (raw(b"HTTP/1.1 200 OK\nContent-Length: %d\n\n" % len(LIST) + LIST), Rows(2)),
    "no length": (raw(OK + b"\r\n" + LIST), Rows(2)),
    "two lengths": (raw(OK + b"Content-Length: 5\r\nContent-Length: 900\r\n\r\n" + LIST), ERROR),
    "negative length": (raw(OK + b"Content-Length: -5\r\n\r\n" + LIST), Rows(2)),  # read to the end of the connection
    "length in words": (raw(OK + b"Content-Length: many\r\n\r\n" + LIST), Rows(2)),
    "length too long": (raw(OK + b"Content-Length: 9999999999999\r\n\r\n" + LIST), ERROR),
    "length too short": (raw(OK + b"Content-Length: 9\r\n\r\n" + LIST), ERROR),
    "length of 5,000 digits": (raw(OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + LIST), Rows(2)),
    "chunks": (raw(CHUNKED + CHUNK + b"0\r\n\r\n"), Rows(2)),
    "chunks without end": (raw(CHUNKED + CHUNK), ERROR),
    "chunk size in words": (raw(CHUNKED + b"many\r\n" + LIST), ERROR),
    "chunk size negative": (raw(CHUNKED + b"-5\r\n" + LIST), ERROR),
    "chunk size of 16 digits": (raw(CHUNKED + b"f" * 16 + b"\r\n" + LIST), ERROR),
    "chunk size of 70 KB": (raw(CHUNKED + b"0" * 70_000 + b"\r\n" + LIST), ERROR),
    "chunks of one byte": (
        raw(CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in LIST) + b"0\r\n\r\n"),
        Rows(2),
    ),
    "chunks and a length": (
        raw(OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNK + b"0\r\n\r\n"),
        Rows(2),
    ),
    "trailers without end": (endless(b"X: x\r\n", CHUNKED + CHUNK + b"0\r\n"), ERROR),
    "a trailer without end": (endless(b"x", CHUNKED + CHUNK + b"0\r\n"), ERROR),
    "another transfer encoding": (raw(OK + b"Transfer-Encoding: gzip\r\n\r\n" + LIST), Rows(2)),
    "1,000 times 100": (raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000 + http(LIST)), Rows(2)),
    "100 without end": (endless(b"HTTP/1.1 100 Continue\r\n\r\n"), ERROR),
    "103 first": (raw(b"HTTP/1.1 103 Early Hints\r\n\r\n" + http(LIST)), ERROR),
    "101": (raw(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), ERROR),
    "a second answer behind": (raw(http(LIST) + http(b"[]")), Rows(2)),
    "a body without end": (endless(b" ", OK + b"\r\n"), ERROR),
    "chunks for ever": (endless(b"1\r\n \r\n", CHUNKED), ERROR),
    "an error without end": (endless(b" ", b"HTTP/1.1 503 No\r\n\r\n"), ERROR),
}

SLOW: dict[str, tuple[Answer, Any]] = {
    "silence": (lambda asked: time.sleep(3), ERROR),
    "a slow status line": (slow(b"HTTP/1.1 200 " + b"x" * 300), ERROR),
    "slow headers": (slow(b"X: x\r\n", OK), ERROR),
    "a slow body": (slow(b" ", OK + b"\r\n"), ERROR),
    "slow chunks": (slow(b"1\r\n \r\n", CHUNKED), ERROR),
    "a slow chunk size": (slow(b"0", CHUNKED), ERROR),
    "slow trailers": (slow(b"X: x\r\n", CHUNKED + CHUNK + b"0\r\n"), ERROR),
    "100 slowly": (slow(b"HTTP/1.1 100 Continue\r\n\r\n"), ERROR),
    "a slow error": (slow(b" ", b"HTTP/1.1 503 No\r\n\r\n"), ERROR),
}

ENCODINGS: dict[str, tuple[Answer, Any]] = {
    "gzip": (says(gzip.compress(LIST), "Content-Encoding: gzip"), Rows(2)),
    "a gzip bomb": (says(bomb(), "Content-Encoding: gzip"), ERROR),
    "a bomb in a bomb": (says(gzip.compress(bomb(400 * 2**20)), "Content-Encoding: gzip, gzip"), ERROR),
    "a bomb with an error": (says(bomb(), "Content-Encoding: gzip", status="403 No"), ERROR),
    "a bomb to be repeated": (says(bomb(), "Content-Encoding: gzip", status="503 No"), ERROR),
    "deflate bomb": (says(zlib.compress(b" " * (20 * 2**20)), "Content-Encoding: deflate"), ERROR),
    "gzip six times": (says(LIST, "Content-Encoding: " + ", ".join(["gzip"] * 6)), ERROR),
    "no gzip": (says(LIST, "Content-Encoding: gzip"), ERROR),
    "half a gzip": (says(gzip.compress(LIST)[:-20], "Content-Encoding: gzip"), ERROR),
    "brotli": (says(b"\x0b\x02\x80[]\x03", "Content-Encoding: br"), ERROR),
    "an unknown encoding": (says(LIST, "Content-Encoding: x-own"), Rows(2)),
    "utf-8 with a mark": (says(b"\xef\xbb\xbf" + LIST), Rows(2)),
    "utf-16": (says(LIST.decode().encode("utf-16")), Rows(2)),
    "utf-16 without a mark": (says(LIST.decode().encode("utf-16-le")), Rows(2)),
    "utf-32": (says(LIST.decode().encode("utf-32")), Rows(2)),
    "latin-1 that says so": (says(LATIN, "Content-Type: application/json; charset=ISO-8859-1"), Rows(1)),
    "latin-1 that does not": (says(LATIN), Rows(1)),
    "a charset that unpacks": (says(LIST, "Content-Type: application/json; charset=zlib_codec"), Rows(2)),
    "a charset nobody knows": (says(LATIN, "Content-Type: application/json; charset=x-own"), Rows(1)),
    "a charset of 60 KB": (says(LIST, "Content-Type: application/json; charset=" + "x" * 60_000), Rows(2)),
    "half a utf-16": (says(LIST.decode().encode("utf-16")[:-1]), ERROR),
    "17 MB": (says(b"[" + b" " * (17 * 2**20) + b"]"), ERROR),
    "html": (says("<html>Sign in</html>", "Content-Type: text/html"), ERROR),
}

DOCUMENTS = {
    "empty": "", "spaces": "  \n", "null": "null", "true": "true", "text": '"x"', "a number": "42", "an object": "{}",
    "items null": '{"items": null}', "items an object": '{"items": {}}', "items text": '{"items": "x"}',
    "data of data": '{"data": {"data": {"data": {"data": []}}}}', "half": '[{"name": "n', "two": "[] []",
    "single quotes": "[{'name': 'n'}]", "a comment": "[] // none", "a comma": "[1,]", "NaN": '[{"a": NaN}]',
    "Infinity": '[{"a": -Infinity}]', "1e999": '[{"a": 1e999}]', "5,000 digits": '[{"a": ' + "9" * 5000 + "}]",
    "items twice": '{"items": [], "items": [1]}', "100,000 deep": nested(100_000), "900 deep": nested(900),
    "33 deep": nested(33), "objects deep": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "a million values": "[" + "0," * 1_000_000 + "0]", "a million objects": "[" + "{}," * 500_000 + "{}]",
    "line separators": "\u2028\u2029", "binary": "\x00\x01\x02", "a string of 17 MB": '"' + "x" * 17 * 2**20 + '"',
}  # fmt: skip

FIELDS: dict[str, tuple[dict[str, Any], bool]] = {
    "no name": ({"name": ...}, False),
    "name null": ({"name": None}, False),
    "name a number": ({"name": 7}, False),
    "name a list": ({"name": ["n"]}, False),
    "name of 1 MB": ({"name": "n" * 2**20}, False),
    "name of 1 MB of one letter that is wide": ({"name": "\U0001f600" * 2**18}, False),
    "name half a pair": ({"name": "n\ud800"}, False),
    "name empty": ({"name": ""}, True),
    "name of controls": ({"name": "\x1b[2J\u202e\x00"}, True),
    "name of markup": ({"name": "<script>"}, True),
    "no end": ({"end_date": ...}, False),
    "end null": ({"end_date": None}, False),
    "end in seconds": ({"end_date": 1_900_000_000}, False),
    "end in seconds as text": ({"end_date": "1900000000"}, False),
    "end a fraction": ({"end_date": 1.5e300}, False),
    "end true": ({"end_date": True}, False),
    "end in words": ({"end_date": "tomorrow"}, False),
    "end empty": ({"end_date": ""}, False),
    "end without a zone": ({"end_date": "2027-01-01T00:00:00"}, False),
    "end of 1 MB": ({"end_date": "2-" * 2**19}, False),
    "end past the calendar": ({"end_date": "9999-12-31T23:59:59-12:00"}, False),
    "end before the calendar": ({"end_date": "0001-01-01T00:00:00+14:00"}, False),
    "end in year 99999": ({"end_date": "99999-01-01T00:00:00Z"}, False),
    "end at month 13": ({"end_date": "2027-13-01T00:00:00Z"}, False),
    "end in 9999": ({"end_date": "9999-12-31T23:59:59Z"}, True),
    "end in year 1": ({"end_date": "0001-01-01T00:00:00Z"}, True),
    "enabled as text": ({"enabled": "false"}, False),
    "enabled a number": ({"enabled": 0}, False),
    "enabled null": ({"enabled": None}, False),
    "no enabled": ({"enabled": ...}, False),
    "start past the calendar": ({"start_date": "9999-12-31T23:59:59-12:00"}, False),
    "start a number": ({"start_date": -1}, False),
    "id a number": ({"id": 5}, False),
    "id of 1 MB": ({"id": "i" * 2**20}, False),
    "id an object": ({"id": {"id": "x"}}, False),
    "id two dots": ({"id": ".."}, True),
    "id empty": ({"id": ""}, True),
    "id null": ({"id": None}, True),
    "serial no hexadecimal": ({"serial_number": "xyz"}, True),
    "serial of 1 MB": ({"serial_number": "f" * 2**20}, False),
    "serial a number": ({"serial_number": 12}, False),
    "key of 1 MB": ({"public_key": "k" * 2**20}, False),
    "owner an object": ({"user_id": {}}, False),
    "1,000 fields more": ({f"x{n}": n for n in range(1000)}, True),
}
"""A change of a second entry, and whether it is still one: else it is a row that says why."""

PAGES: dict[str, tuple[Answer, Any]] = {
    "total": (total(57), Rows(57)),
    "total as text": (total("57"), Rows(57)),
    "total as a fraction": (total(57.0), Rows(57)),
    "total null": (total(None), Rows(57, whole=False)),
    "total in words": (total("many"), Rows(57, whole=False)),
    "total negative": (total(-1), Rows(57, whole=False)),
    "total true": (total(True), Rows(57, whole=False)),
    "total a list": (total([57]), Rows(57)),
    "total too small": (total(5), Rows(20, whole=False)),
    "total too large": (total(60), Rows(57, whole=False)),
    "total of 30 digits": (total(10**30), Rows(57, whole=False)),
    **{
        f"{name}": (total(57, name), Rows(57))
        for name in ("totalCount", "total_items", "TotalElements", "count", "total-results", "size", "numFound")
    },
    "total in meta": (paged(lambda page, asked, begin: {"meta": {"total": 57}, "items": page}), Rows(57)),
    "total in page": (paged(lambda page, asked, begin: {"page": {"totalElements": 57}, "items": page}), Rows(57)),
    "total that grows": (
        paged(lambda page, asked, begin: {"total": 57 + asked.number, "items": page}),
        Rows(57, whole=False),
    ),
    "total that shrinks": (
        paged(lambda page, asked, begin: {"total": 57 - asked.number, "items": page}),
        Rows(57, whole=False),
    ),
    "count of the page": (
        paged(lambda page, asked, begin: {"count": len(page), "total": 57, "items": page}),
        Rows(57),
    ),
    "data.items": (paged(lambda page, asked, begin: {"data": {"total": 57, "items": page}}), Rows(57)),
    "data": (paged(lambda page, asked, begin: {"data": page, "meta": {"pagination": {"total": 57}}}), Rows(57)),
    "limit and no total": (paged(lambda page, asked, begin: {"limit": 20, "items": page}), Rows(57)),
    "limit, and no paging": (again({"limit": 20, "items": ALL[:20]}), Rows(20, whole=False)),
    "total, and no paging": (again({"total": 57, "items": ALL[:20]}), Rows(20, whole=False)),
    "the same page for ever, without ids": (again({"total": 57, "items": BARE[:20]}), Rows(20, whole=False)),
    "total of entries without ids": (
        paged(lambda page, asked, begin: {"total": 57, "items": page}, rows=BARE),
        Rows(57),
    ),
    "X-Total-Count": (paged(lambda page, asked, begin: (page, ("X-Total-Count: 57",))), Rows(57)),
    "Content-Range": (paged(lambda page, asked, begin: (page, ("Content-Range: items 0-19/57",))), Rows(57)),
    "Link": (paged(lambda page, asked, begin: (page, link(begin))), Rows(57)),
    "Link with another name": (paged(lambda page, asked, begin: (page, link(begin, "from")), by="from"), Rows(57)),
    "Link without quotes": (
        paged(lambda page, asked, begin: (page, tuple(one.replace('"', "") for one in link(begin)))),
        Rows(57),
    ),
    "Link to another host": (
        paged(lambda page, asked, begin: (page, link(begin, host="https://evil.example"))),
        Rows(20, whole=False),
    ),
    "Link to plain http": (
        paged(lambda page, asked, begin: (page, link(begin, host="http://localhost"))),
        Rows(20, whole=False),
    ),
    "Link to another path": (
        says(ALL[:20], 'Link: </account/api/v1/user/me?x=1>; rel="next"'),
        Rows(20, whole=False),
    ),
    "Link to [bad": (says(ALL[:20], 'Link: <https://[bad/?x=1>; rel="next"'), Rows(20, whole=False)),
    "Link in a circle": (
        says(ALL[:20], 'Link: </account/api/v1/client-auth-certificate?offset=0>; rel="next"'),
        Rows(20, whole=False),
    ),
    "next": (
        paged(lambda page, asked, begin: {"next": f"?offset={begin + 20}" if begin < 40 else None, "items": page}),
        Rows(57),
    ),
    "links.next": (
        paged(
            lambda page, asked, begin: {
                "links": {"next": {"href": f"/account/api/v1/client-auth-certificate?offset={begin + 20}"}}
                if begin < 40
                else {},
                "items": page,
            }
        ),
        Rows(57),
    ),
    "links with a rel": (
        paged(
            lambda page, asked, begin: {
                "links": [{"rel": "next", "href": f"?offset={begin + 20}"}] if begin < 40 else [],
                "items": page,
            }
        ),
        Rows(57),
    ),
    "next elsewhere": (again({"next": "https://evil.example/?key=1", "items": ALL[:20]}), Rows(20, whole=False)),
    "cursor": (after("cursor", "cursor"), Rows(57)),
    "next_cursor": (after("next_cursor", "cursor"), Rows(57)),
    "nextPageToken": (after("nextPageToken", "pageToken"), Rows(57)),
    "next_offset": (after("next_offset", "offset"), Rows(57)),
    "a cursor for ever": (again({"cursor": "x", "items": ALL[:20]}), Rows(20, whole=False)),
    "a cursor of 1 MB": (again({"next_cursor": "x" * 2**20, "items": ALL[:20]}), Rows(20, whole=False)),
    "has_more": (paged(lambda page, asked, begin: {"has_more": begin < 40, "items": page}), Rows(57)),
    "has_more as text": (paged(lambda page, asked, begin: {"hasMore": str(begin < 40), "items": page}), Rows(57)),
    "has_more, perhaps": (again({"has_more": "perhaps", "items": ALL[:20]}), Rows(20, whole=False)),
    "has_more for ever": (again({"has_more": True, "items": ALL[:20]}), Rows(20, whole=False)),
    "not the last": (paged(lambda page, asked, begin: {"last": begin >= 40, "items": page}), Rows(57)),
    "three pages": (again({"pages": 3, "items": ALL[:20]}), Rows(20, whole=False)),
    "pages by number": (
        lambda asked: paged(
            lambda page, asked, begin: {"page": begin + 1, "total": 57, "items": ALL[20 * begin : 20 * begin + 20]},
            by="at",
        )(Asked(asked.connection, "/?at=" + str(int(asked.query.get("page", "1")) - 1), asked.number)),
        Rows(57),
    ),
    "pages that overlap": (overlapping, Rows(57)),
    "pages that shrink": (shrinking, Rows(30, whole=False)),
    "pages without end": (endless_pages, Rows(60, whole=False)),
    "a second page that breaks off": (breaks_off, Rows(20, whole=False)),
    "an error beside": (again({"items": ALL[:2], "errors": [{"code": "x"}]}), Rows(2, whole=False)),
    "a second list beside": (again({"items": ALL[:2], "archived": ALL[2:4]}), Rows(2, whole=False)),
    "one id, two entries": (again([one(1), one(1, name="other")]), Rows(2, whole=False)),
    "the same entry twice": (again([one(1), one(1)]), Rows(1)),
    "one name, two entries without ids": (
        again([one(1, id=...), one(1, id=..., end_date="2028-01-01T00:00:00Z")]),
        Rows(2),
    ),
    "the same entry twice, without ids": (again([one(1, id=...), one(1, id=...)]), Rows(2)),
    "a field twice": (again(LIST[:-1] + b', {"id": "c9", "id": "c8", "name": "n"}]'), Rows(3, whole=False)),
    "206": (says(ALL[:20], "Content-Range: items 0-19/57", status="206 Partial Content"), ERROR),
    **{f"an entry that is {kind}": (again([ALL[0], kind]), Rows(2, whole=False)) for kind in (None, 7, "text", ())},
}

STATUSES: dict[str, tuple[Answer, Any]] = {
    **{
        f"{status}": (says({"error": "no"}, status=f"{status} No"), ERROR)
        for status in (201, 202, 204, 205, 300, 304, 400, 402, 404, 407, 418, 431, 500, 501, 599, 600, 999)
    },
    **{
        f"{status} to {where or 'nowhere'}"[:40]: (
            says("", *([f"Location: {where}"] if where else []), status=f"{status} Moved"),
            ERROR,
        )
        for status in (301, 302, 303, 307, 308)
        for where in ("https://evil.example/", "/elsewhere", f"https://evil.example/?{API_KEY}", "", "x" * 60_000)
    },
    "a redirect with a bomb": (
        says(bomb(400 * 2**20), "Content-Encoding: gzip", "Location: /elsewhere", status="302 Found"),
        ERROR,
    ),
    "errors by the million": (says(b'{"errors": [' + b"{}," * 300_000 + b"{}]}", status="403 No"), ERROR),
    "an error code of half a pair": (
        says('{"error": {"code": "\\ud800", "message": "\\udfff"}}', status="403 No"),
        ERROR,
    ),
    "an error code that is a list": (says({"error": {"code": [1], "message": {}}}, status="403 No"), ERROR),
    "a message of 1 MB": (says({"error": "x" * 2**20}, status="403 No"), ERROR),
    "a message with the key": (says({"error": f"{API_KEY} no {API_KEY}"}, status="403 No"), ERROR),
    "an error in html": (says("<html>" + "x" * 2**20, status="502 No"), ERROR),
    **{
        f"Retry-After: {value}"[:60]: (says("", f"Retry-After: {value}", status=f"{status} No"), ERROR)
        for status in (429, 503)
        for value in (
            *("-5", "0", "1e9", "0.5", "NaN", "inf", "9" * 5000, "²", "", "soon", "Fri, 31 Dec 9999 23:59:59 -1200"),
            *("Mon, 01 Jan 0001 00:00:00 +1400", "Fri, 31 Dec 99999 23:59:59 GMT", "Thu, 32 Jan 2026 00:00:00 GMT"),
        )
    },
    **{
        f"Date: {value}"[:60]: (says(ALL[:2], f"Date: {value}"), Rows(2))
        for value in (
            *("", "now", "-1", "Fri, 31 Dec 9999 23:59:59 -1200", "Mon, 01 Jan 0001 00:00:00 +1400", "9" * 5000),
            *("Fri, 31 Dec 99999 23:59:59 GMT", "Sat, 28 Nov 2026 17:00:00 +9999", "Sat, 28 Nov 2026 17:00:00"),
        )
    },
    "a thousand cookies": (says(ALL[:2], *["Set-Cookie: a=b; Domain=.example"] * 50), Rows(2)),
}

CASES: dict[str, tuple[Answer, Any]] = {
    **TRANSPORT,
    **SLOW,
    **ENCODINGS,
    **{f"document: {name}": (says(body), ERROR) for name, body in DOCUMENTS.items()},
    **{
        f"entry: {name}": (says([one(0), one(1, **changes)]), Rows(2, whole=fine))
        for name, (changes, fine) in FIELDS.items()
    },
    **{f"pages: {name}": case for name, case in PAGES.items()},
    **{f"answer: {name}": case for name, case in STATUSES.items()},
}
