"""How much may be ordered at once."""

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from order_service.orders.pricing import RequestedItem
from shared.chassis.messages.rejection import Rejected
from shared.contracts.types import MAX_LINES, MAX_UNITS


class OrderLimits(Struct, frozen=True, kw_only=True):
    lines: int = MAX_LINES
    units: int = MAX_UNITS
    """Of one product."""

    def check(self, items: Sequence[RequestedItem]) -> None:
        """Raises Rejected: `order-too-large`."""
        if len(items) > self.lines:
            detail = f"an order has {self.lines} lines at most"
            raise Rejected("order-too-large", detail, maxLines=self.lines)
        units: Counter[str] = Counter()
        for item in items:
            units[item.product_id] += item.quantity
            if units[item.product_id] > self.units:
                raise Rejected(
                    "order-too-large",
                    f"an order has {self.units} units of a product at most",
                    productId=item.product_id,
                    maxUnits=self.units,
                )


NO_LIMITS = OrderLimits()
"""Other than those of the contracts."""
