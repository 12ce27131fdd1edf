"""Who runs the shop: operators and admins, over HTTP for admins."""

from collections.abc import Sequence
from functools import partial

from litestar import Controller, Response, get, put
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody
from msgspec import Struct

from order_service.accounts import store
from order_service.accounts.api import CustomerView, customer_reply, customer_view
from order_service.accounts.domain import ChangeRole, unknown_customer
from order_service.domain import Command, OrderState
from order_service.request_fields import Email, canonical_email
from shared.chassis.http.auth import admin_only
from shared.chassis.http.problems import responses
from shared.chassis.http.request_body import RequestBody, ServiceRequest
from shared.chassis.runtime.service import Service
from shared.contracts import Role

Orders = NamedDependency[Service[OrderState, Command]]


class RoleChange(RequestBody, frozen=True, kw_only=True):
    """The address of an account, and its role from now on."""

    email: Email
    role: Role
    even_if_unverified: bool = False
    """Give the role to an account whose address was never verified: somebody else may have registered it."""


class Staff(Struct, frozen=True, kw_only=True):
    """Every account that is more than a customer's."""

    items: Sequence[CustomerView]


class RoleController(Controller):
    """`/auth/roles`."""

    path = "/auth/roles"
    guards = (admin_only,)
    tags = ("accounts",)

    @get("/")
    async def list_staff(self, service: Orders) -> Staff:
        """The admins, then the operators, each by address."""
        staff = await service.reads.run(store.staff)
        return Staff(items=[customer_view(customer) for customer in staff])

    @put(
        "/",
        responses={
            200: ResponseSpec(CustomerView),
            **responses("email-not-verified", "not-admin", "own-role", "unknown-customer"),
        },
    )
    async def change_role(
        self, request: ServiceRequest, data: JSONBody[RoleChange], service: Orders
    ) -> Response[bytes]:
        """Give an account a role, and take back the one that it has. Its access tokens end at once in every service."""
        email = canonical_email(data.email)
        customer = await service.reads.run(partial(store.find_by_email, email=email))
        if customer is None:
            raise unknown_customer()
        command = ChangeRole(
            user_id=customer.user_id,
            role=data.role,
            changed_by=request.customer_id,
            even_if_unverified=data.even_if_unverified,
        )
        return await service.commands.execute(
            request, command, customer_reply(customer.user_id, 200)
        )
