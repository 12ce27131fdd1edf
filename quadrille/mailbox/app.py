"""The development mailbox: receives every mail by SMTP, stores it as a file, and serves it at a URL.

It asks for no password, so it listens on the loopback only. HTML of mails is served in a sandbox that runs no script
and loads nothing.
"""

import logging
from functools import cache
from typing import Annotated, Literal, TypeVar

from jinja2 import Environment, PackageLoader
from litestar import Litestar, MediaType, Response, Router, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import Parameter

from quadrille.mailbox.smtp import MailHandler, SmtpServer, listen
from quadrille.mailbox.storage import Mail, MailStorage, Summary
from shared.chassis.http import health, openapi
from shared.chassis.http.app import provide
from shared.chassis.http.health import Backlog, Health
from shared.chassis.http.pagination import Page, page_of, schema_name
from shared.chassis.http.problems import ProblemDetails, responses
from shared.chassis.messages.rejection import Rejected
from shared.chassis.settings import loopback_host
from shared.settings import ShopSettings

MailPage = Annotated[Page[Summary], schema_name("MailPage")]
PageSize = Annotated[int, Parameter(ge=1, le=500)]
Tab = Literal["html", "text", "raw"]
T = TypeVar("T")

PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
MAIL_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


def build(settings: ShopSettings) -> Litestar:
    """The application; exits with one sentence when the SMTP port cannot be used."""
    logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd logs every line it receives
    mails = MailStorage(settings.data_dir / "mailbox")
    listening = listen(loopback_host(settings), settings.mailbox_smtp_port)
    smtp = SmtpServer(listening, MailHandler(mails))
    dependencies = {"mails": mails, "health": Health(smtp.waiting_for, _no_warnings, _no_backlog)}
    return Litestar(
        route_handlers=[health.router(), PAGES, API],
        dependencies={name: provide(value) for name, value in dependencies.items()},
        plugins=[ProblemDetails()],
        openapi_config=openapi.config("Quadrille: development mailbox"),
        on_startup=[smtp.start],
        on_shutdown=[smtp.stop],
        state=State({"on_stopping": None}),
    )


async def _no_warnings() -> list[str]:
    return []


async def _no_backlog() -> Backlog:
    return Backlog(None, None)


@get("/", include_in_schema=False, sync_to_thread=True)
def list_page(
    mails: NamedDependency[MailStorage], before: str | None = None, limit: PageSize = 50
) -> Response[str]:
    rows = mails.newest(limit + 1, before)
    return _page(
        "mails.html",
        mails=rows[:limit],
        count=mails.count(),
        older=rows[limit - 1].mail_id if len(rows) > limit else None,
        is_first=before is None,
    )


@get("/mails/{mail_id:str}", include_in_schema=False, sync_to_thread=True)
def mail_page(
    mails: NamedDependency[MailStorage], mail_id: str, show: Tab | None = None
) -> Response[str]:
    mail = _existing(mails.read(mail_id))
    tab = show or ("html" if mail.html is not None else "text")
    raw = (mails.raw(mail_id) or b"").decode(errors="replace") if tab == "raw" else ""
    return _page("mail.html", mail=mail, shown=tab, raw=raw)


@get("/mails/{mail_id:str}/html", include_in_schema=False, sync_to_thread=True)
def mail_html(mails: NamedDependency[MailStorage], mail_id: str) -> Response[str]:
    html = _existing(mails.read(mail_id)).html or ""
    headers = {"Content-Security-Policy": MAIL_POLICY, "X-Frame-Options": "SAMEORIGIN"}
    return Response(html, media_type=MediaType.HTML, headers=headers)


@get("/mailbox.css", include_in_schema=False, sync_to_thread=True)
def style() -> Response[str]:
    return Response(_render("mailbox.css"), media_type=MediaType.CSS)


@get("/", sync_to_thread=True)
def list_mails(
    mails: NamedDependency[MailStorage], cursor: str | None = None, limit: PageSize = 50
) -> MailPage:
    """The mails received, newest first."""
    rows = mails.newest(limit + 1, cursor)
    return page_of(rows, limit, lambda mail: mail, lambda mail: mail.mail_id)


@get("/{mail_id:str}", sync_to_thread=True, responses=responses("unknown-mail"))
def read_mail(mails: NamedDependency[MailStorage], mail_id: str) -> Mail:
    """One mail with its HTML and its text."""
    return _existing(mails.read(mail_id))


@get("/{mail_id:str}/raw", sync_to_thread=True, responses=responses("unknown-mail"))
def read_raw(mails: NamedDependency[MailStorage], mail_id: str) -> Response[bytes]:
    """The mail as stored: its envelope as first headers, then what was sent."""
    content = _existing(mails.raw(mail_id))
    return Response(content, media_type="text/plain; charset=utf-8")


def _existing(mail: T | None) -> T:
    if mail is None:
        raise Rejected("unknown-mail", "there is no such mail")
    return mail


def _page(template: str, **values: object) -> Response[str]:
    headers = {"Content-Security-Policy": PAGE_POLICY}
    return Response(_render(template, **values), media_type=MediaType.HTML, headers=headers)


def _render(template: str, **values: object) -> str:
    return _templates().get_template(template).render(**values)


@cache
def _templates() -> Environment:
    return Environment(loader=PackageLoader("quadrille.mailbox"), autoescape=True)


PAGES = Router("/", route_handlers=[list_page, mail_page, mail_html, style])
API = Router("/api/mails", route_handlers=[list_mails, read_mail, read_raw], tags=["mails"])
