"""The key that links in mails are signed with: made at the first start, and published."""

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
    """At every start: create the key if there is none, and publish it again for services that missed the event."""
    signer, keep = await service.database.run(_read), None
    if signer is None:
        signer = TokenSigner.generate()
        keep = partial(store.add_link_key, key_id=signer.key_id, private_key=signer.to_pem())
    command = PublishLinkKey(key_id=signer.key_id, public_key=signer.public_key)
    await service.writer.execute(CommandEnvelope(command, actor=actor.SERVICE, extra_writes=keep))
    links.use(signer)


def _read(connection: Connection) -> TokenSigner | None:
    key = store.link_key(connection)
    return TokenSigner.from_pem(*key) if key else None
