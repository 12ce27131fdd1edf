"""A carrier somewhere else: booked over HTTP, heard back from by signed callbacks."""

import hashlib
import hmac

import httpx
import msgspec
from msgspec import Struct

from shared.config import Settings, SettingsError
from shipping_service.carriers import Accepted, Booking, CarrierUnavailable, Declined

TIMEOUT_SECONDS = 10
TRY_LATER = frozenset({408, 425, 429})


class Confirmation(Struct, frozen=True, kw_only=True):
    """The carrier's answer to a booking."""

    reference: str


class RemoteCarrier:
    """POSTs each booking to `carrier_url`, with the shipment's id as Idempotency-Key.

    2xx `{"reference": …}` is accepted; 4xx is declined for good; anything else, and no answer, means later.
    A booking is withdrawn with DELETE `carrier_url`/{shipmentId}, where 404 and 410 are as good as 2xx.
    """

    name = "http"

    def __init__(self, settings: Settings) -> None:
        if not settings.carrier_url or not settings.carrier_secret:
            raise SettingsError(
                "QUADRILLE_CARRIER=http needs QUADRILLE_CARRIER_URL and QUADRILLE_CARRIER_SECRET"
            )
        self._url = settings.carrier_url.rstrip("/")
        self._secret = settings.carrier_secret.encode()
        self._client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS)

    def delay_seconds(self, order_id: str) -> float:  # noqa: ARG002
        """At once."""
        return 0

    async def book(self, booking: Booking, attempt: int) -> Accepted | Declined:  # noqa: ARG002
        """Ask over HTTP."""
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
            except msgspec.MsgspecError as error:
                raise CarrierUnavailable(f"a confirmation that can not be read: {error}") from error
            return Accepted(reference=confirmed.reference)
        return Declined(reason=f"CARRIER_DECLINED_{answer.status_code}")

    async def withdraw(self, shipment_id: str) -> None:
        """Take it back over HTTP; a refusal is logged by the task that tries again."""
        answer = await self._send("DELETE", f"{self._url}/{shipment_id}")
        if not answer.is_success and answer.status_code not in {404, 410}:
            raise CarrierUnavailable(f"the withdrawal was answered {answer.status_code}")

    def has_signed(self, body: bytes, signature: str) -> bool:
        """`sha256=` and the HMAC-SHA256 of the body under our shared secret, in hex."""
        expected = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(f"sha256={expected}".encode(), signature.encode())

    async def _send(self, method: str, url: str, **request: object) -> httpx.Response:
        try:
            answer = await self._client.request(method, url, **request)  # type: ignore[arg-type]
        except httpx.HTTPError as error:
            raise CarrierUnavailable(str(error) or type(error).__name__) from error
        if answer.is_server_error or answer.is_redirect or answer.status_code in TRY_LATER:
            raise CarrierUnavailable(f"answered {answer.status_code}")
        return answer
