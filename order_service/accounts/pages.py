"""The pages that links in mails open: forms without scripts, in English or Japanese.

Opening a page changes nothing, since mail programs open links too; a link is used by sending its form.
"""

import hashlib
from base64 import b64encode
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qs

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import Controller, MediaType, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery
from markupsafe import Markup

from order_service.accounts.domain import LinkKind
from order_service.accounts.mailed_links import MailedLinks
from shared.chassis.http.client_address import client_address
from shared.chassis.http.command_bus import while_connected
from shared.chassis.http.openapi import WITHOUT_KEY
from shared.chassis.http.problems import BadRequest, type_of
from shared.chassis.http.request_body import ServiceRequest
from shared.chassis.messages.rejection import Rejected

Links = NamedDependency[MailedLinks]
Locale = str
Page = Response[str]

MIN_PASSWORD, MAX_PASSWORD = 8, 256
STYLE = (
    ":root{color-scheme:light dark}"
    "body{margin:0;background:light-dark(#f2efe9,#1a1917);color:light-dark(#26231f,#ece9e3);font:16px/1.6 system-ui,sans-serif}"
    "main{max-width:26rem;margin:12vh auto;padding:2rem;background:light-dark(#fff,#262422);border-radius:14px;border-top:5px solid #3c5a8a}"
    "h1{margin:0 0 1rem;font-size:1.5rem;line-height:1.3}label{display:block;margin:1rem 0}"
    "input{display:block;width:100%;box-sizing:border-box;margin-top:.25rem;padding:.6rem;font:inherit}"
    "button{padding:.7rem 1.4rem;border:0;border-radius:8px;background:#3c5a8a;color:#fff;font:inherit;cursor:pointer}"
    "[role=alert]{color:light-dark(#a03030,#ff9c94)}"
)
STYLE_DIGEST = b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{STYLE_DIGEST}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    # The address contains the link, which other sites must not see. With no-referrer browsers would send the form
    # with `Origin: null`, which is refused.
    "Referrer-Policy": "same-origin",
    "Vary": "Accept-Language",
}


class Texts(NamedTuple):
    """One language of one page."""

    title: str
    lead: str
    button: str
    done: str
    invalid: str
    password: str = ""
    repeated: str = ""
    differs: str = ""
    weak: str = ""


INVALID = "This link is invalid, has expired, or was used. Please ask for a new one."
INVALID_JA = "このリンクは無効か、期限切れか、すでに使われています。もう一度お申し込みください。"
TEXTS: dict[tuple[LinkKind, Locale], Texts] = {
    ("password-reset", "en"): Texts(
        title="Set another password",
        lead="You will have to sign in again everywhere.",
        button="Set the password",
        done="Your password is set. Please sign in with it.",
        invalid=INVALID,
        password="New password, at least 8 characters",  # noqa: S106 - a label
        repeated="The same again",
        differs="The two passwords differ.",
        weak="Please choose another password, which is harder to guess.",
    ),
    ("password-reset", "ja"): Texts(
        title="パスワードの再設定",
        lead="すべての端末で再度サインインが必要になります。",
        button="設定する",
        done="パスワードを設定しました。新しいパスワードでサインインしてください。",
        invalid=INVALID_JA,
        password="新しいパスワード、8文字以上",  # noqa: S106 - a label
        repeated="確認のためもう一度",
        differs="二つのパスワードが一致しません。",
        weak="推測されにくい別のパスワードを入力してください。",
    ),
    ("email-verification", "en"): Texts(
        title="Verify your e-mail address",
        lead="Is this mail's address yours? Then confirm it.",
        button="Confirm",
        done="Thank you: your e-mail address is verified.",
        invalid=INVALID,
    ),
    ("email-verification", "ja"): Texts(
        title="メールアドレスの確認",
        lead="このメールを受け取ったアドレスがご本人のものであれば、確認してください。",
        button="確認する",
        done="メールアドレスを確認しました。ありがとうございます。",
        invalid=INVALID_JA,
    ),
}
PATHS: dict[LinkKind, str] = {
    "password-reset": "reset-password",
    "email-verification": "verify-email",
}

_templates = Environment(
    loader=PackageLoader("order_service"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class PageController(Controller):
    """`/account/reset-password` and `/account/verify-email`, for browsers."""

    path = "/account"
    opt = WITHOUT_KEY
    include_in_schema = False

    @get("/reset-password", media_type=MediaType.HTML)
    async def show_reset(
        self, request: ServiceRequest, mailed_links: Links, link: FromQuery[str] = ""
    ) -> Page:
        """A form for the new password."""
        return await _opened(request, mailed_links, "password-reset", link)

    @post("/reset-password", status_code=200, media_type=MediaType.HTML)
    async def reset(self, request: ServiceRequest, mailed_links: Links) -> Page:
        """Set the password."""
        form, texts = await _form(request), _texts(request, "password-reset")
        link, password = form.get("link", ""), form.get("password", "")
        if password != form.get("repeated"):
            return _page(request, "password-reset", 400, link=link, error=texts.differs)
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            return _page(request, "password-reset", 400, link=link, error=texts.weak)
        work = mailed_links.reset_password(link, password, client_address(request))
        try:
            await while_connected(request, work)
        except BadRequest:
            return _page(request, "password-reset", 400, link=link, error=texts.weak)
        except Rejected as rejected:
            return _refusal(request, "password-reset", rejected)
        return _page(request, "password-reset", 200, text=texts.done)

    @get("/verify-email", media_type=MediaType.HTML)
    async def show_verification(
        self, request: ServiceRequest, mailed_links: Links, link: FromQuery[str] = ""
    ) -> Page:
        """A button."""
        return await _opened(request, mailed_links, "email-verification", link)

    @post("/verify-email", status_code=200, media_type=MediaType.HTML)
    async def verify(self, request: ServiceRequest, mailed_links: Links) -> Page:
        """Verify the address."""
        form, texts = await _form(request), _texts(request, "email-verification")
        try:
            await mailed_links.verify_email(form.get("link", ""), client_address(request))
        except Rejected as rejected:
            return _refusal(request, "email-verification", rejected)
        return _page(request, "email-verification", 200, text=texts.done)


async def _opened(
    request: ServiceRequest, mailed_links: MailedLinks, kind: LinkKind, link: str
) -> Page:
    """The form, if its link can be used."""
    try:
        await mailed_links.check(link, kind)
    except Rejected as rejected:
        return _refusal(request, kind, rejected)
    return _page(request, kind, 200, link=link)


def _refusal(request: ServiceRequest, kind: LinkKind, rejected: Rejected) -> Page:
    """Whatever is wrong with the link, it is the same page; a rate limit names itself."""
    is_bad_link = rejected.code == "bad-link"
    text = _texts(request, kind).invalid if is_bad_link else rejected.detail
    return _page(request, kind, type_of(rejected.code).status, text=text)


def _page(
    request: ServiceRequest,
    kind: LinkKind,
    status: int,
    *,
    link: str = "",
    error: str = "",
    text: str = "",
) -> Page:
    """With a `link`, a form; else the text."""
    texts = _texts(request, kind)
    labels = [("password", texts.password), ("repeated", texts.repeated)]
    content = _templates.get_template("account.html").render(
        locale=_locale(request),
        title=texts.title,
        style=Markup(STYLE),  # noqa: S704 - a constant
        lines=[text or texts.lead],
        error=error,
        link=link,
        action=PATHS[kind],  # relative: a proxy may serve the shop below a path
        passwords=labels if kind == "password-reset" else [],
        button=texts.button,
    )
    return Response(
        content, status_code=HTTPStatus(status), media_type=MediaType.HTML, headers=HEADERS
    )


async def _form(request: ServiceRequest) -> dict[str, str]:
    """The fields of a form; nothing of a body that is none."""
    try:
        fields = parse_qs((await request.body()).decode(), max_num_fields=5)
    except ValueError:
        return {}
    return {name: values[0] for name, values in fields.items()}


def _texts(request: ServiceRequest, kind: LinkKind) -> Texts:
    return TEXTS[kind, _locale(request)]


def _locale(request: ServiceRequest) -> Locale:
    is_japanese = request.headers.get("Accept-Language", "").lower().startswith("ja")
    return "ja" if is_japanese else "en"
