"""The key that links in mails are signed with: made at the first connection, and published."""

from collections.abc import Callable
from functools import partial

from sqlalchemy import Connection

from notifier_service import store
from notifier_service.domain import Command, NotifierState, PublishLinkKey
from notifier_service.mail_links import MailLinks
from shared.chassis.engine.unit_of_work import CommandEnvelope
from shared.chassis.http.token_signer import TokenSigner
from shared.chassis.messages import actor
from shared.chassis.runtime.service import Service


async def prepare(service: Service[NotifierState, Command], links: MailLinks) -> None:
    """At every start: publish the key again for services that missed the event, or create the first one.

    It is not created in a new database that replaces a lost one: then its event would be at a position of another event
    that was published, and `quadrille reconcile` could not continue the log.
    """
    signer = await service.database.run(_read)
    if signer:
        await _publish(service, links, signer)
    else:
        await service.when_own_log(partial(_create, service, links))


async def _create(service: Service[NotifierState, Command], links: MailLinks) -> None:
    signer = TokenSigner.generate()
    keep = partial(store.add_link_key, key_id=signer.key_id, private_key=signer.to_pem())
    await _publish(service, links, signer, keep)


async def _publish(
    service: Service[NotifierState, Command],
    links: MailLinks,
    signer: TokenSigner,
    keep: Callable[[Connection], None] | None = None,
) -> None:
    command = PublishLinkKey(key_id=signer.key_id, public_key=signer.public_key)
    await service.writer.execute(CommandEnvelope(command, actor=actor.SERVICE, extra_writes=keep))
    links.use(signer)


def _read(connection: Connection) -> TokenSigner | None:
    key = store.link_key(connection)
    return TokenSigner.from_pem(*key) if key else None
