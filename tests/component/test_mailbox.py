"""The development mailbox as a process: SMTP in, files, pages and JSON out; hostile mails do no harm."""

import mailbox as maildir
import os
import smtplib
import subprocess
import sys
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest
import pytest_asyncio

from shared.settings import ShopSettings
from tests.support.eventually import eventually
from tests.support.settings import environment_of, settings_for

READY_SECONDS = 60
STOP_SECONDS = 30
SCRIPT = "<script>alert(1)</script>"


class Mailbox:
    def __init__(self, settings: ShopSettings) -> None:
        self.directory = settings.data_dir / "mailbox"
        self.smtp_port = settings.mailbox_smtp_port
        self.http_port = settings.mailbox_port
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{settings.mailbox_port}", trust_env=False
        )
        self.environment = os.environ | environment_of(settings)  # noqa: TID251 - a child's
        self.process = self.start()

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "quadrille.mailbox"],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def is_ready(self) -> bool:
        try:
            return self.http.get("/health/ready").is_success
        except httpx.TransportError:
            return False

    def send(self, mail: EmailMessage | bytes, recipient: str = "you@example.com") -> None:
        content = mail if isinstance(mail, bytes) else bytes(mail)
        with smtplib.SMTP("127.0.0.1", self.smtp_port, timeout=10) as smtp:
            smtp.sendmail("shop@example.com", [recipient], content)

    def listed(self) -> list[dict[str, str]]:
        items: list[dict[str, str]] = self.http.get("/api/mails").json()["items"]
        return items

    def end(self) -> int:
        """Its exit code; its error output is printed for pytest."""
        if self.process.poll() is None:
            self.process.terminate()
        _, errors = self.process.communicate(timeout=STOP_SECONDS)
        print(errors)  # noqa: T201 - shown when the test fails
        return self.process.returncode


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mailbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mailbox]:
    """One process for all tests of this file, which see each other's mails."""
    directory = tmp_path_factory.mktemp("mailbox")
    box = Mailbox(settings_for(directory, "nats://127.0.0.1:1", host="0.0.0.0"))
    try:
        await eventually(box.is_ready, within_seconds=READY_SECONDS)
        yield box
    finally:
        box.end()
        box.http.close()


def mail(subject: str, html: str | None = "<p>Hello</p>") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Shop <shop@example.com>"
    message["To"] = "you@example.com"
    message["Subject"] = subject
    message["Message-ID"] = "<1@example.com>"
    message.set_content("Hello in text")
    if html:
        message.add_alternative(html, subtype="html")
    return message


def test_sent_mail_is_a_file_and_an_entry(mailbox: Mailbox) -> None:
    recipient = f"{uuid4().hex}@example.com"
    mailbox.send(mail("ご注文の確認"), recipient)
    listed = mailbox.listed()[0]
    assert listed["subject"] == "ご注文の確認"
    assert listed["from"] == "Shop <shop@example.com>"
    assert listed["messageId"] == "<1@example.com>"
    stored = maildir.Maildir(mailbox.directory, create=False).get_bytes(listed["mailId"])
    assert f"Delivered-To: {recipient}\r\n".encode() in stored


def test_mails_are_paged_newest_first(mailbox: Mailbox) -> None:
    count = len(mailbox.listed())
    for number in range(5):
        mailbox.send(mail(f"number {number}"))
    subjects, cursor = [], None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = mailbox.http.get("/api/mails", params=query).json()
        subjects += [entry["subject"] for entry in page["items"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert subjects[:5] == [f"number {number}" for number in (4, 3, 2, 1, 0)]
    assert len(subjects) == count + 5
    html = mailbox.http.get("/").text
    assert html.index("number 4") < html.index("number 0")
    assert f"{count + 5} mails" in html


def test_mail_is_shown_as_html_text_and_raw(mailbox: Mailbox) -> None:
    mailbox.send(mail("parts"))
    mail_id = mailbox.listed()[0]["mailId"]
    read = mailbox.http.get(f"/api/mails/{mail_id}").json()
    assert read["html"].strip() == "<p>Hello</p>"
    assert read["text"].strip() == "Hello in text"
    page = mailbox.http.get(f"/mails/{mail_id}").text
    assert 'sandbox=""' in page
    assert f"/mails/{mail_id}/html" in page
    assert "Hello in text" in mailbox.http.get(f"/mails/{mail_id}?show=text").text
    assert (
        "Message-ID: &lt;1@example.com&gt;" in mailbox.http.get(f"/mails/{mail_id}?show=raw").text
    )
    raw = mailbox.http.get(f"/api/mails/{mail_id}/raw")
    assert raw.content == maildir.Maildir(mailbox.directory, create=False).get_bytes(mail_id)
    assert raw.headers["content-type"].startswith("text/plain")


def test_mail_html_is_sandboxed_and_rest_escaped(mailbox: Mailbox) -> None:
    mailbox.send(mail(f"sale {SCRIPT}", html=SCRIPT))
    mail_id = mailbox.listed()[0]["mailId"]
    pages = ["/", *(f"/mails/{mail_id}?show={form}" for form in ("html", "text", "raw"))]
    for path in pages:
        page = mailbox.http.get(path)
        assert SCRIPT not in page.text, path
        assert "script-src" not in page.headers["content-security-policy"]
        assert "default-src 'none'" in page.headers["content-security-policy"]
    html = mailbox.http.get(f"/mails/{mail_id}/html")
    assert html.text.strip() == SCRIPT
    policy = html.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "allow-scripts" not in policy
    assert html.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "mail_id",
    [
        "%2e%2e",
        "%2e%2e%2fsecret",
        "..%2f..%2fsecret",
        "%2fetc%2fpasswd",
        "secret",
        "x" * 5000,
        "%00",
    ],
)
def test_only_mail_ids_are_readable(mailbox: Mailbox, mail_id: str) -> None:
    (mailbox.directory.parent / "secret.eml").write_text("secret words")
    (mailbox.directory / "secret.eml").write_text("secret words")
    (mailbox.directory / "new" / "secret").write_text("secret words")
    for path in (f"/mails/{mail_id}", f"/mails/{mail_id}/html", f"/api/mails/{mail_id}/raw"):
        answer = mailbox.http.get(path)
        assert answer.status_code == 404, path
        assert "secret words" not in answer.text
    assert "secret" not in {entry["mailId"] for entry in mailbox.listed()}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no headers at all",
        b"Subject: =?utf-8?b?!!!?=\r\nFrom: <<<@\r\n\r\n\xff\xfe\x00",
        b"Content-Type: text/html; charset=no-such\r\n\r\n<p>\xe9",
        b"Content-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\nContent-Type: a/b/c\r\n",
        b"Content-Transfer-Encoding: base64\r\nContent-Type: text/plain\r\n\r\n%%%",
        b"Message-ID: [\r\nDate: never\r\nTo: a@b, ;:\r\n\r\nbody",
    ],
)
def test_malformed_mail_is_kept_and_shown(mailbox: Mailbox, content: bytes) -> None:
    before = mailbox.listed()
    mailbox.send(content)
    listed, *others = mailbox.listed()
    assert others == before
    for form in ("html", "text", "raw"):
        assert mailbox.http.get(f"/mails/{listed['mailId']}?show={form}").is_success
    assert mailbox.http.get(f"/mails/{listed['mailId']}/html").is_success
    assert mailbox.http.get("/").is_success


def test_mailbox_refuses_foreign_host_names(mailbox: Mailbox) -> None:
    for path in ("/", "/api/mails", "/schema"):
        assert mailbox.http.get(path, headers={"Host": "evil.example"}).status_code == 421
        own = mailbox.http.get(path, headers={"Host": f"localhost:{mailbox.http_port}"})
        assert own.is_success
        assert own.headers["Cache-Control"] in {"no-store", "no-cache"}
        assert own.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in own.headers["Content-Security-Policy"]


def test_mailbox_listens_on_loopback_only(mailbox: Mailbox) -> None:
    connections = psutil.Process(mailbox.process.pid).net_connections("tcp")
    listening = {c.laddr for c in connections if c.status == psutil.CONN_LISTEN}
    assert listening == {("127.0.0.1", mailbox.http_port), ("127.0.0.1", mailbox.smtp_port)}


async def test_mails_survive_a_restart(mailbox: Mailbox) -> None:
    mailbox.send(mail("kept"))
    before = mailbox.listed()
    assert mailbox.end() == 0
    mailbox.process = mailbox.start()
    await eventually(mailbox.is_ready, within_seconds=READY_SECONDS)
    assert before[0]["subject"] == "kept"
    assert mailbox.listed() == before


async def test_used_smtp_port_is_reported_in_one_sentence(mailbox: Mailbox, tmp_path: Path) -> None:
    settings = settings_for(
        tmp_path / "other", "nats://127.0.0.1:1", mailbox_smtp_port=mailbox.smtp_port
    )
    other = Mailbox(settings)
    _, errors = other.process.communicate(timeout=READY_SECONDS)
    other.http.close()
    assert other.process.returncode == 1
    assert f"port {mailbox.smtp_port}" in errors
    assert len(errors.strip().splitlines()) == 1
