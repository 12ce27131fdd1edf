"""JSON bodies, decoded strictly: no coercion, no unknown fields, and errors that name the field."""

from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Request
from litestar.datastructures import State

from shared.chassis.http.auth import Access, Caller, sign_in_first
from shared.chassis.http.problems import BadRequest, FieldError, field_error
from shared.chassis.messages.plain_text import LINE

T = TypeVar("T")

Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=LINE)]
"""Why an operator asks for something, in one line."""


class RequestBody(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """The base of every JSON body that a route accepts; repeat `frozen` and `kw_only` in subclasses."""


class ServiceRequest(Request[Caller, Access | None, State]):
    """A request whose `user` is the caller; `auth` is their access token, if they sent one."""

    @property
    def customer_id(self) -> str:
        """The signed-in caller's id. Raises NotAuthorizedException for a guest."""
        if self.user.user_id is None:
            raise sign_in_first()
        return self.user.user_id

    async def json(self) -> Any:  # noqa: ANN401 - the type of the handler's `data`
        """The body as the struct that the handler's `data` declares; raises BadRequest.

        Litestar would decode it to plain values and convert them with coercion: `"2"` would be a quantity.
        """
        field = self.route_handler.parsed_data_field
        body = await self.body()
        return decode_body(body, field.annotation if field else object)


def decode_body(body: bytes, body_type: type[T]) -> T:
    """The JSON in `body` as a `body_type`. Raises BadRequest naming the field."""
    try:
        return msgspec.json.decode(body, type=body_type)
    except msgspec.ValidationError as error:
        raise BadRequest(field_error(error)) from error
    except msgspec.DecodeError as error:
        raise BadRequest(FieldError(field="body", message=f"not JSON: {error}")) from error
    except UnicodeDecodeError as error:
        raise BadRequest(FieldError(field="body", message="not UTF-8")) from error
