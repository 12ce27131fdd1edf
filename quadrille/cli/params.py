"""What people type for so many of a product."""

import click


class LineItemParam(click.ParamType[dict[str, object]]):
    """`prod001:2`; the quantity is 1 where none is given."""

    name = "product:quantity"

    def convert(
        self,
        value: object,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> dict[str, object]:
        """As the order service wants it."""
        product_id, _, quantity = str(value).partition(":")
        if not product_id:
            self.fail(f"{value!r} names no product; say it like prod001:2", param, ctx)
        if quantity and not (quantity.isascii() and quantity.isdigit() and int(quantity)):
            self.fail(
                f"{value!r}: {quantity!r} is no quantity; say it like {product_id}:2", param, ctx
            )
        return {"productId": product_id, "quantity": int(quantity or 1)}
