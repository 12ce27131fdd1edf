"""The answer to a command that can not be carried out."""


class Rejected(Exception):
    """Nobody but the command's caller needs to know; what others must hear is an event instead.

    `problem` is the reason's stable slug, `status` its HTTP status, `detail` a sentence for people, `extra`
    further members of the problem document.
    """

    def __init__(
        self,
        problem: str,
        detail: str,
        *,
        status: int = 409,
        headers: dict[str, str] | None = None,
        **extra: object,
    ) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.status = status
        self.headers = headers or {}
        self.extra = extra
