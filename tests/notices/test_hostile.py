"""A hostile name stays text in a mail, a webhook and a chat.

Slack and Telegram have fixed hosts on the internet and Teams wants a public certificate: for these three what apprise
would send is taken at `requests`, a stand-in for their servers.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from runbook_lib.notices.messages import messages
from runbook_lib.notices.notices_file import NoticeState
from runbook_lib.notices.run_facts import LISTED, read_bag
from runbook_lib.notices.sender import Way
from runbook_lib.notices.state_changes import of_certificate
from tests.notices import runs
from tests.notices.conftest import Desk
from tests.notices.receivers import Hook, Mailbox
from tests.notices.runs import row

NAMES = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "x\r\nBcc: victim@example.com",
    "<!channel> <@U1> [click](https://evil.example)",
    "\u202egnp.exe",
    "**bold** _it_ `code` {{7*7}} {% raw %}",
    "a" * 5_000,
)


def test_a_hostile_name_stays_text_in_mail_and_webhook(desk: Desk, mailbox: Mailbox, hook: Hook):
    desk.set(send=[{"to": ["pki"]}, {"to": ["on-call"]}])
    for name in NAMES:
        desk.run(row(name, "due", store=f"{name}/0001 (in use)"))
    assert (len(mailbox.mails), len(hook.bodies)) == (len(NAMES), len(NAMES))
    for mail in mailbox.mails:
        assert mail["bcc"] is None
        assert mail["to"] == "pki@example.com"
        assert len(mail["subject"]) <= 150
        page = mail.get_body(("html",))
        assert page is not None
        shown = page.get_content()
        for tag in ("<script", "<img", "<!channel", "\u202e"):
            assert tag not in shown
    assert "&lt;script&gt;" in str(mailbox.mails[0].get_body(("html",)))
    assert "{{7*7}}" in html.unescape(str(mailbox.mails[5].get_body(("html",)).get_content()))  # type: ignore[union-attr]
    assert all("\r" not in title and "\n" not in title for title in hook.titles)
    assert hook.titles[3] == f"Due: {NAMES[3]} is due for renewal".replace("](", "] (")


@dataclass(frozen=True)
class Chat:
    """A service: its URL, what it answers, and what in its payload would act."""

    url: str
    answer: bytes
    acts: tuple[str, ...]
    """Regular expressions: a mention, a link or markup that the service would follow."""


CHATS = {
    # mrkdwn: <…> is a mention or a link unless & < > are escaped (Slack, “Formatting text for app surfaces”)
    "slack": Chat("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#pki", b"ok", ("<!channel>", "<@U1>")),
    # HTML: a tag
    "telegram": Chat("tgram://123456789:abcdefg_hijklmnop/12315544", b'{"ok": true, "result": []}', ("<!", "<@")),
    # Adaptive Cards: Markdown links (“Text features”)
    "teams": Chat("workflows://prod.example.com:443/1234567890abcdef/signature_of_tests", b"", (r"[^\\\\]\]\(",)),
}


@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS)
def test_a_hostile_name_stays_text_in_a_chat(desk: Desk, chat: Chat, monkeypatch: pytest.MonkeyPatch):
    sent: list[str] = []

    def take(*args: Any, data: Any = None, **more: Any) -> requests.Response:
        sent.append(data.decode() if isinstance(data, bytes) else data)
        answer = requests.Response()
        answer.status_code, answer._content = 200, chat.answer
        return answer

    for verb in ("post", "request"):
        monkeypatch.setattr(requests, verb, take)
    way = Way("env:CHAT", {"CHAT": chat.url})
    facts = read_bag(desk.archive, runs.put(desk.archive, row(NAMES[3], "due")))
    assert facts is not None
    (certificate,) = facts.bag.certificates(LISTED)
    change = of_certificate(NoticeState.DUE, certificate, facts.bag, {})
    desk.set(recipients={"pki": ["env:CHAT"]}, send=[{"to": ["pki"]}])
    (message,) = messages([change], desk.notices, desk.archive)
    assert way.send(message) == ""
    (payload,) = sent
    assert "channel" in payload
    assert "github.com" not in payload
    for act in chat.acts:
        assert re.search(act, payload) is None, payload
        assert re.search(act, NAMES[3])
