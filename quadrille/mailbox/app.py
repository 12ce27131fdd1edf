"""The development mailbox: takes every mail by SMTP, keeps it as a file, and shows it at a URL.

It asks for no password, so it listens on the loopback only. HTML of mails is shown in a sandbox that runs no script
and loads nothing.
"""

import asyncio
import logging
import sys
from asyncio import to_thread
from collections.abc import Sequence
from socket import AF_INET, AF_INET6, create_server, socket
from typing import Annotated, Literal, TypeVar

import msgspec
import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session
from jinja2 import Environment, PackageLoader
from litestar import Litestar, MediaType, Response, Router, get
from litestar.datastructures import State
from litestar.params import Parameter

from quadrille.mailbox.storage import Mail, MailFiles, Summary
from shared.chassis.http import openapi
from shared.chassis.http.health import Ready
from shared.chassis.http.problems import HANDLERS, responses
from shared.chassis.messages.rejection import Rejected
from shared.settings import Settings, loopback_host

PageSize = Annotated[int, Parameter(ge=1, le=500)]
T = TypeVar("T")

Shown = Literal["html", "text", "raw"]

PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
MAIL_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)

log = structlog.get_logger()


class MailPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Newest first; `next_cursor` asks for the rest."""

    items: Sequence[Summary]
    next_cursor: str | None


class MailHandler:
    """What the SMTP server does with a mail."""

    def __init__(self, mails: MailFiles) -> None:
        self._mails = mails

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Accept it once it is kept; ask for patience when it can not be."""
        content = envelope.original_content or b""
        sender, recipients = envelope.mail_from or "", envelope.rcpt_tos
        try:
            mail_id = await to_thread(self._mails.keep, sender, recipients, content)
        except OSError as error:
            log.error("mail.refused", reason=str(error))  # noqa: TRY400 - the reason says it all
            return "452 4.3.1 the mailbox can not be written"
        log.info("mail.received", mail_id=mail_id, recipients=recipients)
        return f"250 kept as {mail_id}"


class SmtpServer:
    """Listens as long as the web pages do."""

    def __init__(self, listening: socket, postman: MailHandler) -> None:
        self._listening = listening
        self._postman = postman
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Take mails."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: SMTP(self._postman, enable_SMTPUTF8=True, hostname="mailbox", loop=loop),
            sock=self._listening,
        )

    async def stop(self) -> None:
        """Take no more."""
        if self._server:
            self._server.close()

    @property
    def is_listening(self) -> bool:
        """Whether mails are taken."""
        return self._server is not None and self._server.is_serving()


def pages(mails: MailFiles) -> Router:
    """The mailbox for eyes."""
    jinja = Environment(loader=PackageLoader("quadrille.mailbox"), autoescape=True)

    def page(template: str, **values: object) -> Response[str]:
        content = jinja.get_template(template).render(**values)
        headers = {"Content-Security-Policy": PAGE_POLICY}
        return Response(content, media_type=MediaType.HTML, headers=headers)

    @get("/", include_in_schema=False, sync_to_thread=True)
    def show_mails(before: str | None = None, limit: PageSize = 50) -> Response[str]:
        found = mails.newest(limit + 1, before)
        return page(
            "mails.html",
            mails=found[:limit],
            count=mails.count(),
            older=found[limit - 1].mail_id if len(found) > limit else None,
            is_first=before is None,
        )

    @get("/mails/{mail_id:str}", include_in_schema=False, sync_to_thread=True)
    def show_mail(mail_id: str, show: Shown | None = None) -> Response[str]:
        mail = _found(mails.read(mail_id))
        shown = show or ("html" if mail.html is not None else "text")
        raw = (mails.raw(mail_id) or b"").decode(errors="replace") if shown == "raw" else ""
        return page("mail.html", mail=mail, shown=shown, raw=raw)

    @get("/mails/{mail_id:str}/html", include_in_schema=False, sync_to_thread=True)
    def show_html(mail_id: str) -> Response[str]:
        html = _found(mails.read(mail_id)).html or ""
        headers = {"Content-Security-Policy": MAIL_POLICY, "X-Frame-Options": "SAMEORIGIN"}
        return Response(html, media_type=MediaType.HTML, headers=headers)

    @get("/mailbox.css", include_in_schema=False, sync_to_thread=True)
    def style() -> Response[str]:
        content = jinja.get_template("mailbox.css").render()
        return Response(content, media_type=MediaType.CSS)

    return Router("/", route_handlers=[show_mails, show_mail, show_html, style])


def api(mails: MailFiles) -> Router:
    """The mailbox for scripts."""

    @get("/", sync_to_thread=True, responses=responses(400))
    def list_mails(cursor: str | None = None, limit: PageSize = 50) -> MailPage:
        """The mails received, newest first."""
        found = mails.newest(limit + 1, cursor)
        page = found[:limit]
        return MailPage(items=page, next_cursor=page[-1].mail_id if len(found) > limit else None)

    @get("/{mail_id:str}", sync_to_thread=True, responses=responses(404))
    def read_mail(mail_id: str) -> Mail:
        """One mail with its HTML and its text."""
        return _found(mails.read(mail_id))

    @get("/{mail_id:str}/raw", sync_to_thread=True, responses=responses(404))
    def read_raw(mail_id: str) -> Response[bytes]:
        """The mail as it was kept: the envelope's two headers, then what was sent."""
        content = _found(mails.raw(mail_id))
        return Response(content, media_type="text/plain; charset=utf-8")

    return Router("/api/mails", route_handlers=[list_mails, read_mail, read_raw], tags=["mails"])


def health(smtp: SmtpServer) -> Router:
    """As every process of the shop answers."""

    @get("/live", sync_to_thread=False)
    def live() -> Ready:
        """Answers as long as the process runs."""
        return Ready(status="live")

    @get("/ready", sync_to_thread=False)
    def ready() -> Response[Ready]:
        """200 when it takes mails; 503 before."""
        if smtp.is_listening:
            return Response(Ready(status="ready"))
        waiting = Ready(status="waiting", waiting_for=["its SMTP port"])
        return Response(waiting, status_code=503)

    return Router("/health", route_handlers=[live, ready], tags=["health"])


def build(settings: Settings) -> Litestar:
    """The application; exits with one sentence when the SMTP port can not be used."""
    logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd tells every line it hears
    mails = MailFiles(settings.data_dir / "mailbox")
    address = (loopback_host(settings), settings.mailbox_smtp_port)
    try:
        listening = create_server(address, family=AF_INET6 if ":" in address[0] else AF_INET)
    except OSError as error:
        sys.exit(f"mailbox: port {address[1]} on {address[0]} can not be used: {error.strerror}")
    smtp = SmtpServer(listening, MailHandler(mails))
    return Litestar(
        route_handlers=[health(smtp), pages(mails), api(mails)],
        exception_handlers=HANDLERS,
        openapi_config=openapi.config("Quadrille: development mailbox"),
        on_startup=[smtp.start],
        on_shutdown=[smtp.stop],
        state=State({"on_stopping": None}),
    )


def _found(thing: T | None) -> T:
    if thing is None:
        raise Rejected("unknown-mail", "there is no such mail", status=404)
    return thing
