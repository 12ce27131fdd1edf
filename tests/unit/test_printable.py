"""Untrusted text on terminals and in logs."""

import json
import subprocess
import sys

import pytest

from quadrille import output
from shared.chassis.messages.clock import now
from shared.chassis.printable import printable, printable_json

HOSTILE = "\x1b]0;OWNED\x07 \x1b[31mRED\x9b2K \u202eltr \u2028 \U000e0041\nnext line 日本\u3000語 é"
SHOWN = "\\x1b]0;OWNED\\x07 \\x1b[31mRED\\x9b2K \\u202eltr \\u2028 \\U000e0041"
ORDER_ID = "01a1fb92-2fe3-749c-921d-dddb8f6e4579"
EVENT_ID = ORDER_ID.replace("0", "1")


def test_hidden_characters_are_escaped():
    assert printable(HOSTILE, keep="\n") == f"{SHOWN}\nnext line 日本\u3000語 é"
    assert printable("\ud800") == "\\ud800"


def test_escaped_json_keeps_its_meaning():
    document = json.dumps({"name": HOSTILE}, ensure_ascii=False)
    assert json.loads(printable_json(document)) == {"name": HOSTILE}
    assert printable(printable_json(document)) == printable_json(document)


def test_table_row_stays_one_printable_line(capsys: pytest.CaptureFixture[str]):
    table = output.table("Name", "Price")
    table.add_row(HOSTILE, "¥1")
    table.add_row("lamp", "¥2")
    output.console().print(table)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == ["Price", "¥1", "¥2"]
    assert lines[1].startswith(SHOWN[:60])
    assert not any(set(line) & set("\x1b\x07\x9b\u202e\u2028") for line in lines)


def test_event_line_stays_one_printable_line(capsys: pytest.CaptureFixture[str]):
    event = output.EventDocument(
        event_id="e",
        type="CustomerRegistered\x1b[2K",
        source="order",
        entity_id="k",
        recorded_at=now(),
        data={"name": HOSTILE, "reason": HOSTILE},
    )
    output.echo_line(output.log_line(event))
    output.echo_json({"name": HOSTILE})
    [line, document] = capsys.readouterr().out.splitlines()
    assert "CustomerRegistered\\x1b[2K" in line
    assert json.loads(document) == {"name": HOSTILE}
    assert (line + document).isprintable() or "\u3000" in line


LOGGING = f"""
import logging, structlog
from shared import settings
from shared.chassis.runtime import logs
logs.configure("order", settings.load())
log = structlog.get_logger()
log.info("event.recorded", key="{ORDER_ID}", event_id="{EVENT_ID}")
error = KeyError("{ORDER_ID}\\x1b[31m")
log.error("part\\x1b.failed", path="/orders/{ORDER_ID}/\\x9b", exc_info=error)
logging.getLogger("library").error("{ORDER_ID} \\x1b", exc_info=error)
"""


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_log_contains_no_order_ids_or_escapes(log_format: str):
    ran = subprocess.run(
        [sys.executable, "-c", LOGGING],
        env={"QUADRILLE_LOG_FORMAT": log_format, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    logged = ran.stdout + ran.stderr
    assert ORDER_ID not in logged
    assert logged.count("#bce0bee6") == 5
    assert EVENT_ID in logged
    assert printable(logged, keep="\n") == logged
