"""Structured logs on standard output.

The id of a guest's order is a secret, so logs show a digest of every UUID but those that name an event, a mail, a key
or a database: `#` and the first eight digits of the id's SHA-256, as `printf %s <id> | sha256sum` shows it.
"""

import hashlib
import io
import logging
import re
import sys
from typing import TextIO

import msgspec
import structlog
from structlog.typing import EventDict, ExcInfo

from shared.chassis.printable import printable, printable_json
from shared.chassis.settings import ChassisSettings

NO_SECRETS = frozenset({"event_id", "mail_id", "key_id", "database_id"})
"""Fields whose ids are not replaced by digests."""

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def configure(service: str, settings: ChassisSettings) -> None:
    """Set up logging for this process: one line per event, `console` for people or `json` for machines."""
    level = getattr(logging, settings.log_level.upper())
    steps: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.contextvars.bind_contextvars(service=service)
    if settings.log_format == "json":
        steps += [
            structlog.processors.format_exc_info,
            _without_ids,
            structlog.processors.JSONRenderer(serializer=_to_json),
        ]
    else:
        steps += [
            _without_ids,
            _printable,
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(), exception_formatter=_write_traceback
            ),
        ]
    structlog.configure(
        processors=steps,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(name)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _to_json(entry: object, **_: object) -> str:
    return printable_json(msgspec.json.encode(entry, enc_hook=repr).decode())


def without_ids(text: str) -> str:
    """The text with a digest in the place of every UUID."""
    return _UUID.sub(lambda match: "#" + hashlib.sha256(match[0].encode()).hexdigest()[:8], text)


def _without_ids(_logger: object, _method: str, entry: EventDict) -> EventDict:
    return {
        name: without_ids(value) if isinstance(value, str) and name not in NO_SECRETS else value
        for name, value in entry.items()
    }


def _printable(_logger: object, _method: str, entry: EventDict) -> EventDict:
    return {
        name: printable(value) if isinstance(value, str) else value for name, value in entry.items()
    }


def _write_traceback(out: TextIO, exc_info: ExcInfo) -> None:
    written = io.StringIO()
    structlog.dev.plain_traceback(written, exc_info)
    out.write(printable(without_ids(written.getvalue()), keep="\n"))


class _Formatter(logging.Formatter):
    """For the log lines of libraries."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(without_ids(super().format(record)), keep="\n")
