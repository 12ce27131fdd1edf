"""The development mailbox's files: a Maildir, and what it takes over from earlier releases."""

from datetime import UTC, datetime
from pathlib import Path

from quadrille.mailbox.storage import MailStorage

OLD_MAILS = {
    "019aa6f1-2800-7000-8000-000000000001": datetime(2025, 11, 21, 15, 3, 33, 632000, UTC),
    "019aa6f1-2800-7000-8000-000000000002": datetime(2025, 11, 21, 15, 3, 33, 632000, UTC),
    "019aa6f1-3000-7000-8000-000000000000": datetime(2025, 11, 21, 15, 3, 35, 680000, UTC),
}


def old_directory(directory: Path) -> Path:
    for number, mail_id in enumerate(OLD_MAILS):
        (directory / f"{mail_id}.eml").write_bytes(f"Subject: old {number}\r\n\r\nbody".encode())
    (directory / "notes.eml").write_bytes(b"no mail of ours")
    return directory


def test_envelope_cannot_forge_headers(tmp_path: Path):
    mails = MailStorage(tmp_path)
    mail_id = mails.add("a@b\r\nSubject: forged", ["c@d\nX: y"], b"Subject: true\r\n\r\n")
    raw = mails.raw(mail_id)
    assert raw is not None
    assert raw.count(b"\n") == 4
    mail = mails.read(mail_id)
    assert mail is not None
    assert mail.subject == "true"


def test_old_mails_keep_content_time_and_order(tmp_path: Path):
    mails = MailStorage(old_directory(tmp_path))
    assert [(mail.subject, mail.received_at) for mail in mails.newest(10)] == [
        (f"old {number}", OLD_MAILS[mail_id])
        for number, mail_id in reversed(list(enumerate(OLD_MAILS)))
    ]
    assert mails.raw(mails.newest(1)[0].mail_id) == b"Subject: old 2\r\n\r\nbody"
    assert [path.name for path in tmp_path.glob("*.eml")] == ["notes.eml"]


def test_new_mails_follow_old_ones(tmp_path: Path):
    mails = MailStorage(old_directory(tmp_path))
    mails.add("a@b", ["c@d"], b"Subject: new\r\n\r\n")
    reopened = MailStorage(tmp_path)
    assert [mail.subject for mail in reopened.newest(2)] == ["new", "old 2"]
    assert reopened.count() == 4


def test_mails_read_elsewhere_keep_their_id(tmp_path: Path):
    mails = MailStorage(tmp_path)
    mail_id = mails.add("a@b", ["c@d"], b"Subject: true\r\n\r\n")
    (tmp_path / "new" / mail_id).rename(tmp_path / "cur" / f"{mail_id}:2,S")
    [mail] = MailStorage(tmp_path).newest(10)
    assert mail.mail_id == mail_id


def test_malformed_cursor_lists_nothing(tmp_path: Path):
    mails = MailStorage(tmp_path)
    mails.add("a@b", ["c@d"], b"Subject: true\r\n\r\n")
    assert mails.newest(10, before="no cursor") == []
