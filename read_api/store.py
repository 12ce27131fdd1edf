"""How the read models lie in their tables."""

from typing import Any

from read_api.models import Cart, Customer, Notification, Order, Product, Reservation, Shipment
from read_api.projections import (
    carts,
    catalogue,
    customers,
    notifications,
    orders,
    reservations,
    shipments,
)
from read_api.tables import (
    CART_ITEMS,
    CARTS,
    CHECKPOINT_TABLES,
    CUSTOMERS,
    EVENTS,
    NOTIFICATIONS,
    ORDER_ITEMS,
    ORDERS,
    PRODUCTS,
    RESERVATIONS,
    SHIPMENTS,
)
from shared.chassis.engine.projector import Projection
from shared.chassis.storage.checkpoints import Checkpoints
from shared.chassis.storage.entity_store import EntityStore, EntityTable
from shared.contracts import CATALOG

ORDER_TABLE = EntityTable(Order, ORDERS, "order", children={"items": ORDER_ITEMS})
PRODUCT_TABLE = EntityTable(Product, PRODUCTS, "product")
RESERVATION_TABLE = EntityTable(Reservation, RESERVATIONS, "order")
SHIPMENT_TABLE = EntityTable(Shipment, SHIPMENTS, "order")
CUSTOMER_TABLE = EntityTable(Customer, CUSTOMERS, "customer")
CART_TABLE = EntityTable(Cart, CARTS, "customer", children={"items": CART_ITEMS})
NOTIFICATION_TABLE = EntityTable(Notification, NOTIFICATIONS, "notification")

PROJECTIONS: tuple[Projection[Any], ...] = (
    Projection(
        orders.Orders(),
        orders.CONSUMES,
        orders.evolve,
        EntityStore(orders.Orders, orders=ORDER_TABLE),
    ),
    Projection(
        customers.Customers(),
        customers.CONSUMES,
        customers.evolve,
        EntityStore(customers.Customers, customers=CUSTOMER_TABLE),
    ),
    Projection(
        carts.Carts(),
        carts.CONSUMES,
        carts.evolve,
        EntityStore(carts.Carts, carts=CART_TABLE),
    ),
    Projection(
        catalogue.Catalogue(),
        catalogue.CONSUMES,
        catalogue.evolve,
        EntityStore(catalogue.Catalogue, products=PRODUCT_TABLE),
    ),
    Projection(
        reservations.Reservations(),
        reservations.CONSUMES,
        reservations.evolve,
        EntityStore(reservations.Reservations, reservations=RESERVATION_TABLE),
    ),
    Projection(
        shipments.Shipments(),
        shipments.CONSUMES,
        shipments.evolve,
        EntityStore(shipments.Shipments, shipments=SHIPMENT_TABLE),
    ),
    Projection(
        notifications.Notifications(),
        notifications.CONSUMES,
        notifications.evolve,
        EntityStore(notifications.Notifications, notifications=NOTIFICATION_TABLE),
    ),
)

CHECKPOINTS = Checkpoints(CHECKPOINT_TABLES, EVENTS, CATALOG)
