"""The exception for a command, or another request, that violates a rule."""


class Rejected(Exception):
    """A command violated a business rule. Only its caller learns of it; facts for other services are events.

    `code` names the rule, and never changes; `detail` is a sentence for people; `extra` are facts for programs, such
    as the current price. How a code looks over HTTP is in `shared/chassis/http/problems.py`.
    """

    def __init__(self, code: str, detail: str, **extra: object) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.extra = extra


def bad_link() -> Rejected:
    """The one answer to every link of a mail that is not accepted: the reason would only help somebody who guesses."""
    return Rejected("bad-link", "the link is invalid, has expired, or was used: ask for a new one")
