"""Links in mails: one key, one purpose, one subject, and a time."""

from collections.abc import AsyncIterator
from datetime import timedelta

import jwt
import pytest

from shared.chassis.http import links
from shared.chassis.http.auth import AUDIENCE, ISSUER
from shared.chassis.http.links import MAX_UNTRUSTED, LinkKeys, Purpose, sign
from shared.chassis.http.token_signer import TokenSigner
from shared.chassis.messages.clock import now
from shared.chassis.messages.identity_events import LinkKeyPublished
from shared.chassis.messages.rejection import Rejected, bad_link
from shared.chassis.storage.database import (
    CHASSIS_METADATA,
    Database,
    database_url,
    open_for_writing,
)
from shared.settings import ShopSettings
from tests.support.history import recorded

SIGNER, FORGER = TokenSigner.generate(), TokenSigner.generate()
SOON = timedelta(minutes=5)


@pytest.fixture
async def database(shop_settings: ShopSettings) -> AsyncIterator[Database]:
    database = open_for_writing(database_url("order", shop_settings))
    await database.run(CHASSIS_METADATA.create_all)
    await receive(database, SIGNER)
    yield database
    await database.close()


@pytest.fixture
def keys(database: Database) -> LinkKeys:
    return LinkKeys(database)


async def receive(database: Database, *signers: TokenSigner) -> None:
    events = [
        recorded(LinkKeyPublished(key_id=signer.key_id, public_key=signer.public_key))
        for signer in signers
    ]
    await database.run(lambda connection: links.keep(connection, events))


def link(purpose: Purpose = Purpose.PASSWORD_RESET, signer: TokenSigner = SIGNER) -> str:
    return sign(signer, purpose, "r1", now() + SOON)


async def assert_refused(keys: LinkKeys, text: str, purpose: Purpose) -> None:
    with pytest.raises(Rejected) as caught:
        await keys.subject_of(text, purpose)
    assert (caught.value.code, caught.value.detail) == ("bad-link", bad_link().detail)


@pytest.mark.parametrize("purpose", Purpose)
async def test_link_is_valid_for_its_purpose_only(keys: LinkKeys, purpose: Purpose):
    assert await keys.subject_of(link(purpose), purpose) == "r1"
    for other in set(Purpose) - {purpose}:
        await assert_refused(keys, link(purpose), other)


def test_link_of_same_arguments_is_the_same():
    expires_at = now()
    first, second = (sign(SIGNER, Purpose.ORDER, "o1", expires_at) for _ in range(2))
    assert first == second


async def test_expired_link_is_refused(keys: LinkKeys):
    expired = sign(SIGNER, Purpose.ORDER, "o1", now() - timedelta(seconds=1))
    await assert_refused(keys, expired, Purpose.ORDER)


def claims(**changes: object) -> dict[str, object]:
    audience = "quadrille:link:order"
    values = {"iss": ISSUER, "aud": audience, "sub": "o1", "exp": now() + SOON} | changes
    return {name: value for name, value in values.items() if value is not None}


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"sub": None},
        {"sub": 7},
        {"aud": None},
        {"aud": AUDIENCE},
        {"aud": ["quadrille:link:order", AUDIENCE]},
        {"iss": "elsewhere"},
    ],
)
async def test_link_with_other_claims_is_refused(keys: LinkKeys, changes: dict[str, object]):
    assert await keys.subject_of(SIGNER.token(claims()), Purpose.ORDER) == "o1"
    await assert_refused(keys, SIGNER.token(claims(**changes)), Purpose.ORDER)


async def test_malformed_link_is_refused(keys: LinkKeys):
    whole = link()
    head, body, signature = whole.split(".")
    unsigned = jwt.encode(claims(), None, algorithm="none", headers={"kid": SIGNER.key_id})
    for text in (
        *("", "x", "a.b.c", "é.é.é", whole[:-2], f"{head}.{body}.", f"{head}.{signature}.{body}"),
        *(unsigned, whole + "x" * 1000),
    ):
        await assert_refused(keys, text, Purpose.PASSWORD_RESET)


async def test_second_key_is_never_trusted(database: Database, keys: LinkKeys):
    await receive(database, FORGER, FORGER)
    (warning,) = await keys.warnings()
    assert FORGER.key_id in warning
    await assert_refused(keys, link(signer=FORGER), Purpose.PASSWORD_RESET)
    assert await keys.subject_of(link(), Purpose.PASSWORD_RESET) == "r1"


async def test_key_with_the_first_id_is_refused(database: Database, keys: LinkKeys):
    imitation = TokenSigner.from_pem(SIGNER.key_id, FORGER.to_pem())
    await receive(database, imitation)
    await assert_refused(keys, link(signer=imitation), Purpose.PASSWORD_RESET)
    assert await keys.subject_of(link(), Purpose.PASSWORD_RESET) == "r1"


async def test_untrusted_keys_do_not_fill_the_database(database: Database, keys: LinkKeys):
    await receive(database, *(TokenSigner.generate() for _ in range(MAX_UNTRUSTED + 5)))
    assert len(await keys.warnings()) == MAX_UNTRUSTED


async def test_forgotten_key_is_replaced_by_the_next(database: Database, keys: LinkKeys):
    assert await keys.subject_of(link(), Purpose.PASSWORD_RESET) == "r1"
    await database.run(links.forget)
    await receive(database, FORGER)
    keys.reload()
    await assert_refused(keys, link(), Purpose.PASSWORD_RESET)
    assert await keys.subject_of(link(signer=FORGER), Purpose.PASSWORD_RESET) == "r1"
