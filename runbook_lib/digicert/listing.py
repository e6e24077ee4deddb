"""Reads a server's list of certificates page by page, and says whether it is complete.

DigiCert ONE documents no paging beyond `total`, `offset` and `limit`. So every sign of further pages is followed as far
as possible, and in doubt the list says that it may be incomplete.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any
from urllib.parse import quote, urlsplit

from pydantic import ValidationError

from runbook_lib.digicert.answers import Doubled
from runbook_lib.digicert.models import ClientAuthCertificate
from runbook_lib.digicert.wire import one_large_answer
from runbook_lib.errors import Reason, RunbookError

LIST_SECONDS = 300.0
"""How long all pages of one list may take."""
CERTIFICATES_MAX = 50_000
PAGES_MAX = 2_500

_TOTALS = (
    *("total", "totalcount", "totalitems", "totalelements", "totalrecords", "totalresults", "totalsize"),
    *("numfound", "recordstotal", "xtotal", "xtotalcount", "xtotalitems"),
)
_COUNTS = ("count", "itemcount", "recordcount", "resultcount", "size")
"""Totals, or the number of entries on a page."""
_PAGES = ("totalpages", "pagecount", "pages", "numpages", "lastpage", "xtotalpages")
_MORE = (
    *("hasmore", "hasnext", "hasnextpage", "more", "moreavailable"),
    *("istruncated", "truncated", "incomplete", "partial"),
)
_TOKENS = ("cursor", "endcursor", "continuationtoken", "continuation", "continue", "pagetoken", "bookmark", "scrollid")
_LIMITS = ("limit", "pagesize", "perpage")


@dataclass(frozen=True)
class Malformed:
    """An entry of a list that is not a certificate as documented.

    Args:
        name, id: as far as they can be read; not checked.
        why: the fields that are wrong.
    """

    name: str
    id: str
    why: str


@dataclass(frozen=True)
class Listing:
    """A list of certificates.

    Args:
        certificates: those that were read, in the server's order.
        malformed: the entries that could not be read.
        doubt: why there may be more; empty if the list is complete.
    """

    certificates: tuple[ClientAuthCertificate, ...] = ()
    malformed: tuple[Malformed, ...] = ()
    doubt: str = ""

    def __iter__(self) -> Iterator[ClientAuthCertificate]:
        return iter(self.certificates)

    def __len__(self) -> int:
        return len(self.certificates)

    @property
    def problem(self) -> RunbookError | None:
        """Why it may lack certificates; None if it is complete."""
        doubts = [self.doubt] if self.doubt else []
        if self.malformed:
            doubts.append(f"{_entries(len(self.malformed))} of the list cannot be read ({self.malformed[0].why})")
        if not doubts:
            return None
        return RunbookError(Reason.LIST_NOT_WHOLE, f"The list of certificates may be incomplete: {'; '.join(doubts)}.")

    def first(self, test: Callable[[ClientAuthCertificate], bool]) -> ClientAuthCertificate | None:
        """The first certificate that passes, or None. Raises LIST_NOT_WHOLE for None from an incomplete list."""
        found = next((entry for entry in self.certificates if test(entry)), None)
        if found is None and (problem := self.problem) is not None:
            raise problem
        return found

    def named(self, name: str, *, else_: Reason = Reason.LIST_NOT_WHOLE) -> tuple[ClientAuthCertificate, ...]:
        """The certificates of that name.

        Raises:
            RunbookError: of the reason `else_` if there are none, but one may be in the part that was not read.
        """
        found = tuple(entry for entry in self.certificates if entry.name == name)
        hidden = self.doubt or any(entry.name in ("", name) for entry in self.malformed)
        if not found and hidden and (problem := self.problem) is not None:
            raise RunbookError(else_, f"No certificate “{name}” was found. {problem.what}")
        return found


@dataclass(frozen=True)
class Page:
    """One answer to a request for the list: its JSON, and its headers in lower case."""

    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


def read_all(ask: Callable[[str], Page], base: str, keep: Callable[[Any], Any] = lambda entry: entry) -> Listing:
    """Read a list to its end.

    Args:
        ask: sends a GET for a query, which starts with `?` or is empty.
        base: the address without a query; a link to another address is not followed.
        keep: takes each entry and returns it, or its equal; may raise LIST_NOT_WHOLE.

    Raises:
        RunbookError: UNEXPECTED_ANSWER if the first response is not a list, and what `ask` raises for it. Later errors
            become the list's `doubt`.
    """
    return _Reading(ask, base, keep).run()


class _Reading:
    def __init__(self, ask: Callable[[str], Page], base: str, keep: Callable[[Any], Any]) -> None:
        self._ask = ask
        self._keep = keep
        self._base = base
        self._certificates: list[ClientAuthCertificate] = []
        self._malformed: list[Malformed] = []
        self._seen: dict[bytes, bytes] = {}
        self._asked: set[str] = set()
        self._total: int | None = None
        self._doubts: list[str] = []

    @property
    def _count(self) -> int:
        return len(self._certificates) + len(self._malformed)

    def run(self) -> Listing:
        ends, query = time.monotonic() + LIST_SECONDS, ""
        following: str | None = query
        while following is not None:
            query = following
            try:
                following = self._read(query)
            except RunbookError as error:
                if not self._asked:
                    raise
                self._doubts.append(f"reading stopped after {_entries(self._count)}: {error.what.rstrip('.')}")
                break
            if following is not None and (why := self._refuse(following, ends)):
                self._doubts.append(why)
                break
        if self._total is not None and self._count != self._total:
            self._doubts.append(f"it announced {_entries(self._total)}, but returned {self._count:,}")
        return Listing(tuple(self._certificates), tuple(self._malformed), "; ".join(dict.fromkeys(self._doubts)))

    def _read(self, query: str) -> str | None:
        """Take one page; return the query for the next one, None if there is none."""
        with one_large_answer():
            page = self._ask(query)
            items, details = _split(page.body)
            self._asked.add(query)
            new = self._add(items)
            paging = _Paging.read(details, page.headers, len(items))
        self._doubts += paging.doubts
        self._compare(paging.totals)
        following = self._next(paging, len(items))
        if following is not None and query and not new:  # a further page brought no new entry
            if items or self._wants(paging):
                self._doubts.append(f"it announced more than {_entries(self._count)}, but returned no more")
            return None
        return following

    def _refuse(self, following: str, ends: float) -> str:
        """Why the next page is not requested; empty if it is."""
        if following in self._asked or not following:
            return "its next page was already read, or is at another address"
        if len(self._asked) >= PAGES_MAX or self._count >= CERTIFICATES_MAX:
            return f"reading stopped at the limit of {PAGES_MAX:,} pages or {CERTIFICATES_MAX:,} entries"
        return (
            f"reading stopped after {LIST_SECONDS:g} s and {_entries(self._count)}" if time.monotonic() > ends else ""
        )

    def _add(self, items: list[Any]) -> int:
        """Take the entries of a page; return how many were new."""
        before, first = self._count, not self._asked - {""}
        keys = [_key(item) for item in items]
        again = not first and all(key in self._seen for key, _ in keys)
        for item, (key, content) in zip(items, keys, strict=True):
            if key in self._seen:
                known = key != content
                if again or (known and self._seen[key] == content):
                    continue  # the same entry again: the pages overlap, or the server repeats one
                if known:
                    self._doubts.append("two entries share an id")
                elif not first:
                    self._doubts.append("an entry without an id came again on a later page")
            self._seen.setdefault(key, content)
            try:
                self._certificates.append(self._keep(_certificate(item)))
            except _NotACertificate as error:
                self._malformed.append(self._keep(Malformed(_short(item, "name"), _short(item, "id"), str(error))))
        return self._count - before

    def _compare(self, totals: list[int]) -> None:
        for total in totals:
            if self._total is not None and total != self._total:
                self._doubts.append("the announced number of entries changed while the list was read")
            self._total = max(total, self._total or 0)

    def _wants(self, paging: _Paging) -> bool:
        return paging.more or (self._total is not None and self._count < self._total)

    def _next(self, paging: _Paging, came: int) -> str | None:
        """The query for the next page; empty if there is one that cannot be requested; None at the end."""
        for link in paging.links:
            return self._query_of(link)
        for name, token in paging.tokens:
            return f"?{quote(name, safe='')}={quote(token, safe='')}"
        full = self._total is None and paging.limit is not None and came >= paging.limit > 0
        if self._wants(paging) or paging.pages > len(self._asked) or full or paging.doubts:
            return f"?{quote(paging.page[0], safe='')}={paging.page[1]}" if paging.page else f"?offset={self._count}"
        return None

    def _query_of(self, link: str) -> str:
        try:
            parts, base = urlsplit(link), urlsplit(self._base)
        except ValueError:
            return ""
        here = parts.netloc in ("", base.netloc) and parts.scheme in ("", "https") and parts.path in ("", base.path)
        plain = parts.query.isascii() and parts.query.isprintable() and " " not in parts.query
        return f"?{parts.query}" if here and plain and parts.query and len(parts.query) < 2_000 else ""


@dataclass
class _Paging:
    """What a response says about further pages."""

    came: int
    totals: list[int] = field(default_factory=list)
    pages: int = 0
    page: tuple[str, int] | None = None
    limit: int | None = None
    more: bool = False
    links: list[str] = field(default_factory=list)
    tokens: list[tuple[str, str]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, details: Mapping[str, Any], headers: Mapping[str, str], came: int) -> _Paging:
        paging = cls(came)
        if any(isinstance(value, list) and any(map(_looks_like_certificate, value)) for value in details.values()):
            paging.doubts.append("the response holds a second list")
        for path, value in _flat(details):
            paging._take(path, value)
        for name in ("x-total", "x-total-count", "x-total-items", "x-total-pages", "x-next-page", "x-next-cursor"):
            if name in headers:
                paging._take((name,), headers[name])
        after_slash = re.fullmatch(r"\s*\S+ \S+/(\d{1,9})\s*", headers.get("content-range", ""))
        if after_slash:
            paging.totals.append(int(after_slash[1]))
        paging.links += re.findall(r"<([^<>]*)>[^<]*?;\s*rel\s*=\s*\"?next\"?(?![\w-])", headers.get("link", ""), re.I)
        return paging

    def _take(self, path: tuple[str, ...], value: Any) -> None:
        names = [re.sub(r"[^a-z]", "", part.lower()) for part in path]
        name = names[-1]
        if any(part in ("errors", "error", "warnings") for part in names):
            if value not in (None, "", False):
                self.doubts.append("the response holds an error")
        elif name in _TOTALS or (name in _COUNTS and (_whole(value) or 0) > self.came):
            number = _whole(value)
            if number is None:
                self.doubts.append("the announced number of entries is not a whole number")
            else:
                self.totals.append(number)
        elif name in _PAGES:
            self.pages = max(self.pages, _whole(value) or 0)
        elif name in ("page", "pagenumber") and (number := _whole(value)) is not None:
            self.page = (path[-1], number + 1)
        elif name in _LIMITS:
            self.limit = _whole(value)
        elif name in _MORE:
            if _true(value):
                self.more = True
            elif value not in (None, False, 0, "", "false", "False", "no", "0"):
                self.doubts.append("the flag for further pages is neither true nor false")
        elif name == "last" and value in (False, "false"):
            self.more = True
        elif any(part.startswith(("next", "xnext", "odatanext")) for part in names):
            self._take_next(path[-1], value)
        elif name in _TOKENS and value not in (None, "", False):
            self.tokens.append((path[-1], str(value)[:2_000]))

    def _take_next(self, name: str, value: Any) -> None:
        if value in (None, "", False):
            return
        self.more = True
        text = str(value)
        if "/" in text or text.startswith("?"):
            self.links.append(text)
        elif not isinstance(value, bool):
            rest = re.sub(r"^(x-)?next[_-]?", "", name, flags=re.I)
            self.tokens.append(((rest[:1].lower() + rest[1:]) or "cursor", text[:2_000]))


def _key(item: Any) -> tuple[bytes, bytes]:
    """An entry's identity, which is its id or else all of its content, never its name alone; and its content."""
    content = blake2b(json.dumps(item, sort_keys=True).encode(), digest_size=16).digest()
    identity = item.get("id") if isinstance(item, dict) else None
    if not isinstance(identity, str) or not identity:
        return content, content
    return b"id" + blake2b(identity.encode("utf-8", "replace"), digest_size=16).digest(), content


class _NotACertificate(ValueError):
    pass


def _certificate(item: Any) -> ClientAuthCertificate:
    if isinstance(item, Doubled):
        raise _NotACertificate("a field occurs twice")
    try:
        return ClientAuthCertificate.model_validate(item)
    except ValidationError as error:
        raise _NotACertificate(f"wrong or missing: {wrong_fields(error)}") from None


def wrong_fields(error: ValidationError) -> str:
    """The names of the fields that a model refuses."""
    fields = sorted({".".join(map(str, item["loc"])) or "everything" for item in error.errors(include_input=False)})
    return ", ".join(fields[:10]) + (f" and {len(fields) - 10:,} more" if len(fields) > 10 else "")


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count:,} entries"


def _short(item: Any, name: str) -> str:
    value = item.get(name) if isinstance(item, dict) else None
    return value[:200].encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _split(body: Any) -> tuple[list[Any], Mapping[str, Any]]:
    """The entries, and the other fields of the response."""
    if isinstance(body, list):
        return body, {}
    details: dict[str, Any] = {}
    for _ in range(3):
        if not isinstance(body, dict) or isinstance(body, Doubled):
            break
        name = "items" if "items" in body else "data"
        details |= {key: value for key, value in body.items() if key != name}
        body = body.get(name)
        if isinstance(body, list):
            return body, details
    raise RunbookError(Reason.UNEXPECTED_ANSWER, "The list of certificates is not an array and has no `items`.")


def _looks_like_certificate(item: Any) -> bool:
    return isinstance(item, dict) and "end_date" in item


def _flat(details: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Nested fields as paths and values."""
    if isinstance(details, Mapping):
        relation = details.get("rel")
        for key, value in list(details.items())[:100]:
            yield from _flat(value, (*path, *(["next"] if relation == "next" else []), str(key)))
    elif isinstance(details, list):
        for item in details[:100]:
            if isinstance(item, (Mapping, list)):
                yield from _flat(item, path)
            else:
                yield path or ("",), item
    else:
        yield path or ("",), details


def _whole(value: Any) -> int | None:
    """A count, possibly written as text; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,9}\s*", value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if 0 <= value < 10**9 and value == int(value) else None


def _true(value: Any) -> bool:
    return value is True or value == 1 or (isinstance(value, str) and value.strip().lower() in ("true", "yes", "1"))
