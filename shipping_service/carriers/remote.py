"""A carrier that is booked over HTTP and reports outcomes by signed callbacks."""

import asyncio
import hashlib
import hmac
from typing import Annotated, Any

import httpx
import msgspec
from httpx import codes
from msgspec import Struct

from shared.chassis.settings import SettingsError
from shared.settings import ShopSettings
from shipping_service.carriers import Accepted, Booking, CarrierUnavailable, Declined, Delivered

TIMEOUT_SECONDS = 10
"""For a whole request and its response."""
MIN_SECRET_LENGTH = 16
TRY_LATER = frozenset({408, 425, 429})
NO_URL = "QUADRILLE_CARRIER_URL: expected http://host[:port][/path], or https:// alike"


class Confirmation(Struct, frozen=True, kw_only=True, rename="camel"):
    """The carrier's answer to a booking."""

    reference: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    tracking_number: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] | None = None


class RemoteCarrier:
    """POSTs each booking to `carrier_url`, with the shipment's id as Idempotency-Key.

    2xx `{"reference": …, "trackingNumber": …}` is accepted, the number may be absent; 4xx except 408, 425 and 429 is declined permanently; anything else, and no response, is
    retried later.
    A booking is withdrawn with DELETE `carrier_url`/{shipmentId}: 2xx and 410 mean that nothing will be shipped,
    404 that no such booking has arrived.
    """

    name = "http"

    def __init__(self, settings: ShopSettings) -> None:
        if not settings.carrier_url or not settings.carrier_secret:
            raise SettingsError(
                "QUADRILLE_CARRIER=http needs QUADRILLE_CARRIER_URL and QUADRILLE_CARRIER_SECRET"
            )
        if len(settings.carrier_secret) < MIN_SECRET_LENGTH:
            raise SettingsError(
                f"QUADRILLE_CARRIER_SECRET: expected at least {MIN_SECRET_LENGTH} characters"
            )
        self._url = read_url(settings.carrier_url)
        self._secret = settings.carrier_secret.encode()
        self._client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS)

    def delay_seconds(self, order_id: str) -> float:  # noqa: ARG002 - part of the interface
        return 0

    async def book(self, booking: Booking, attempt: int) -> Accepted | Declined:  # noqa: ARG002 - part of the interface
        answer = await self._send(
            "POST",
            self._url,
            content=msgspec.json.encode(booking),
            headers={
                "Content-Type": "application/json",
                "Idempotency-Key": booking.shipment_id,
            },
        )
        if answer.is_success:
            try:
                confirmed = msgspec.json.decode(answer.content, type=Confirmation)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise CarrierUnavailable(f"an unreadable confirmation: {error}") from error
            return Accepted(
                reference=confirmed.reference, tracking_number=confirmed.tracking_number
            )
        return Declined(reason=f"CARRIER_DECLINED_{answer.status_code}")

    def outcome_seconds(self, order_id: str) -> None:
        """It calls back."""

    async def outcome(self, order_id: str) -> Delivered | Declined:
        raise CarrierUnavailable(f"it reports the outcome of {order_id} by a callback")

    async def withdraw(self, shipment_id: str) -> bool:
        """A refusal is logged by the task, which tries again."""
        answer = await self._send("DELETE", f"{self._url}/{shipment_id}")
        if answer.status_code == codes.NOT_FOUND:
            return False
        if answer.is_client_error and answer.status_code != codes.GONE:
            raise CarrierUnavailable(f"the withdrawal was answered {answer.status_code}")
        return True

    def has_signed(self, body: bytes, signature: str) -> bool:
        """`sha256=` and the HMAC-SHA256 of the body under the shared secret, in hex."""
        expected = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(f"sha256={expected}".encode(), signature.encode())

    async def close(self) -> None:
        await self._client.aclose()

    async def _send(self, method: str, url: str, **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx's
        """A clear response: 2xx or 4xx. Raises CarrierUnavailable for any other."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answer = await self._client.request(method, url, **request)
        except (httpx.HTTPError, TimeoutError) as error:
            raise CarrierUnavailable(str(error) or type(error).__name__) from error
        is_clear = answer.is_success or answer.is_client_error
        if not is_clear or answer.status_code in TRY_LATER:
            raise CarrierUnavailable(f"answered {answer.status_code}")
        return answer


def read_url(url: str) -> str:
    """The URL without a slash at its end. Raises SettingsError."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise SettingsError(NO_URL) from error
    if parts.scheme not in {"http", "https"} or not parts.host or parts.query or parts.fragment:
        raise SettingsError(NO_URL)
    return url.rstrip("/")
