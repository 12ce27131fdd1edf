"""The access table: each route of each service, and its answer to each caller.

Whose entity the request names:
  -         none, or the list of the caller's own
  own       the caller's account or cart
  customer  the owner's: the owner's order by its id, or `userId=` the owner's id
  guest     an order of a guest, whose id is its secret (docs/decisions/0005): everyone who has it may see and cancel it
  unsigned  a carrier's report without the carrier's signature, or a link that is not signed

Callers: nobody (without a token), another customer, the owner (a customer), the admin, and an operator, who gets the
answer of another customer where the last column is empty. Answers: `ok` is a success,
401 "sign in first", 403 "not allowed", 404 "does not exist", which is also the answer for orders of other customers.
"""

from typing import NamedTuple

TABLE = """
service    method  path                                     whose     nobody another owner admin operator

order      GET     /                                        -         ok     ok      ok    ok
order      GET     /health/live                             -         ok     ok      ok    ok
order      GET     /health/ready                            -         ok     ok      ok    ok
order      GET     /contracts/asyncapi.json                 -         ok     ok      ok    ok
order      GET     /contracts/events/{event_type}/{document} -         ok     ok      ok    ok
order      GET     /.well-known/jwks.json                   -         ok     ok      ok    ok
order      POST    /auth/register                           -         ok     ok      ok    ok
order      POST    /auth/login                              -         ok     ok      ok    ok
order      POST    /auth/refresh                            -         ok     ok      ok    ok
order      POST    /auth/logout                             -         ok     ok      ok    ok
order      POST    /auth/password-reset                     -         ok     ok      ok    ok
order      POST    /auth/password-reset/confirm             unsigned  403    403     403   403
order      POST    /auth/email-verification                 own       401    ok      ok    ok
order      POST    /auth/email-verification/confirm         unsigned  403    403     403   403
order      GET     /auth/roles                              -         401    403     403   ok
order      PUT     /auth/roles                              -         401    403     403   ok
order      GET     /auth/keys                               -         401    403     403   ok
order      POST    /auth/keys                               -         401    403     403   ok
order      DELETE  /auth/keys/{key_id}                      -         401    403     403   ok
order      GET     /auth/me                                 own       401    ok      ok    ok
order      PUT     /auth/me                                 own       401    ok      ok    ok
order      PUT     /auth/password                           own       401    ok      ok    ok
order      GET     /cart                                    own       401    ok      ok    ok
order      DELETE  /cart                                    own       401    ok      ok    ok
order      POST    /cart/items                              own       401    ok      ok    ok
order      PUT     /cart/items/{product_id}                 own       401    ok      ok    ok
order      DELETE  /cart/items/{product_id}                 own       401    ok      ok    ok
order      POST    /cart/checkout                           own       401    ok      ok    ok
order      GET     /me/addresses                            own       401    ok      ok    ok
order      POST    /me/addresses                            own       401    ok      ok    ok
order      GET     /me/addresses/{address_name}             own       401    404     ok    404
order      PUT     /me/addresses/{address_name}             own       401    ok      ok    ok
order      DELETE  /me/addresses/{address_name}             own       401    404     ok    404
order      GET     /orders                                  -         401    ok      ok    ok
order      GET     /orders                                  customer  401    403     ok    ok    ok
order      POST    /orders                                  -         ok     ok      ok    ok
order      POST    /orders                                  customer  ok     403     ok    ok
order      GET     /orders/{order_id}                       customer  404    404     ok    ok    ok
order      GET     /orders/{order_id}                       guest     ok     ok      ok    ok
order      POST    /orders/{order_id}/cancel                customer  404    404     ok    ok    ok
order      POST    /orders/{order_id}/cancel                guest     ok     ok      ok    ok
order      POST    /orders/{order_id}/nudge                 customer  401    403     403   ok    ok
order      POST    /api/orders/{order_id}/nudge             customer  401    403     403   ok    ok
order      GET     /api/orders                              -         401    ok      ok    ok
order      GET     /api/orders                              customer  401    403     ok    ok    ok
order      POST    /api/orders                              -         ok     ok      ok    ok
order      POST    /api/orders                              customer  ok     403     ok    ok
order      GET     /api/orders/{order_id}                   customer  404    404     ok    ok    ok
order      GET     /api/orders/{order_id}                   guest     ok     ok      ok    ok
order      POST    /api/orders/{order_id}/cancel            customer  404    404     ok    ok    ok
order      POST    /api/orders/{order_id}/cancel            guest     ok     ok      ok    ok

inventory  GET     /                                        -         ok     ok      ok    ok
inventory  GET     /health/live                             -         ok     ok      ok    ok
inventory  GET     /health/ready                            -         ok     ok      ok    ok
inventory  GET     /contracts/asyncapi.json                 -         ok     ok      ok    ok
inventory  GET     /contracts/events/{event_type}/{document} -         ok     ok      ok    ok
inventory  GET     /products                                -         ok     ok      ok    ok
inventory  GET     /products/{product_id}                   -         ok     ok      ok    ok
inventory  POST    /products                                -         401    403     403   ok
inventory  PUT     /products/{product_id}                   -         401    403     403   ok
inventory  DELETE  /products/{product_id}                   -         401    403     403   ok
inventory  POST    /products/{product_id}/stock             -         401    403     403   ok
inventory  POST    /products/{product_id}/restore           -         401    403     403   ok
inventory  GET     /reservations/{order_id}                 customer  401    403     403   ok    ok
inventory  GET     /reservations/{order_id}                 guest     401    403     403   ok    ok

shipping   GET     /                                        -         ok     ok      ok    ok
shipping   GET     /health/live                             -         ok     ok      ok    ok
shipping   GET     /health/ready                            -         ok     ok      ok    ok
shipping   GET     /contracts/asyncapi.json                 -         ok     ok      ok    ok
shipping   GET     /contracts/events/{event_type}/{document} -         ok     ok      ok    ok
shipping   GET     /shipments/{order_id}                    customer  401    403     403   ok    ok
shipping   GET     /shipments/{order_id}                    guest     401    403     403   ok    ok
shipping   POST    /shipments/{order_id}/settle             -         401    403     403   404   404
shipping   GET     /carriers/simulated                      -         401    403     403   ok
shipping   PUT     /carriers/simulated                      -         401    403     403   ok
shipping   POST    /carriers/{name}/callbacks               unsigned  401    401     401   401

notifier   GET     /                                        -         ok     ok      ok    ok
notifier   GET     /health/live                             -         ok     ok      ok    ok
notifier   GET     /health/ready                            -         ok     ok      ok    ok
notifier   GET     /contracts/asyncapi.json                 -         ok     ok      ok    ok
notifier   GET     /contracts/events/{event_type}/{document} -         ok     ok      ok    ok
notifier   GET     /notifications                           -         401    403     403   ok    ok
notifier   GET     /notifications                           customer  401    403     403   ok    ok
notifier   GET     /notifications/{notification_id}         customer  401    403     403   ok    ok
order      POST    /events/resend                           -         401    403     403   ok    ok
order      GET     /audit                                   -         401    403     403   ok    ok
inventory  POST    /events/resend                           -         401    403     403   ok    ok
inventory  GET     /audit                                   -         401    403     403   ok    ok
shipping   POST    /events/resend                           -         401    403     403   ok    ok
shipping   GET     /audit                                   -         401    403     403   ok    ok
notifier   POST    /events/resend                           -         401    403     403   ok    ok
notifier   GET     /audit                                   -         401    403     403   ok    ok
order      GET     /tasks                                   -         401    403     403   ok    ok
order      POST    /tasks/{kind}/{key}/run                  -         401    403     403   404    404
order      POST    /tasks/{kind}/{key}/give-up              -         401    403     403   404    404
order      GET     /rebuild                                 -         401    403     403   ok    ok
order      POST    /rebuild                                 -         401    403     403   ok    ok
inventory  GET     /tasks                                   -         401    403     403   ok    ok
inventory  POST    /tasks/{kind}/{key}/run                  -         401    403     403   404    404
inventory  POST    /tasks/{kind}/{key}/give-up              -         401    403     403   404    404
inventory  GET     /rebuild                                 -         401    403     403   ok    ok
inventory  POST    /rebuild                                 -         401    403     403   ok    ok
shipping   GET     /tasks                                   -         401    403     403   ok    ok
shipping   POST    /tasks/{kind}/{key}/run                  -         401    403     403   404    404
shipping   POST    /tasks/{kind}/{key}/give-up              -         401    403     403   404    404
shipping   GET     /rebuild                                 -         401    403     403   ok    ok
shipping   POST    /rebuild                                 -         401    403     403   ok    ok
notifier   GET     /tasks                                   -         401    403     403   ok    ok
notifier   POST    /tasks/{kind}/{key}/run                  -         401    403     403   404    404
notifier   POST    /tasks/{kind}/{key}/give-up              -         401    403     403   404    404
notifier   GET     /rebuild                                 -         401    403     403   ok    ok
notifier   POST    /rebuild                                 -         401    403     403   ok    ok
notifier   POST    /notifications/{notification_id}/resend  customer  401    403     403   ok    ok

read       GET     /                                        -         ok     ok      ok    ok
read       GET     /health/live                             -         ok     ok      ok    ok
read       GET     /health/ready                            -         ok     ok      ok    ok
read       GET     /contracts/asyncapi.json                 -         ok     ok      ok    ok
read       GET     /contracts/events/{event_type}/{document} -         ok     ok      ok    ok
read       GET     /orders                                  -         401    ok      ok    ok
read       GET     /orders                                  customer  401    403     ok    ok    ok
read       GET     /orders/{order_id}                       customer  404    404     ok    ok    ok
read       GET     /orders/{order_id}                       guest     ok     ok      ok    ok
read       GET     /orders/{order_id}/timeline              customer  404    404     ok    ok    ok
read       GET     /orders/{order_id}/timeline              guest     ok     ok      ok    ok
read       GET     /orders/{order_id}/stream                customer  404    404     ok    ok    ok
read       GET     /orders/{order_id}/stream                guest     ok     ok      ok    ok
read       GET     /products                                -         ok     ok      ok    ok
read       GET     /products/{product_id}                   -         ok     ok      ok    ok
read       GET     /categories                              -         ok     ok      ok    ok
read       GET     /inventory                               -         401    403     403   ok
read       GET     /shipments                               -         401    403     403   ok    ok
read       GET     /customers                               -         401    403     403   ok
read       GET     /customers/{user_id}                     customer  401    403     403   ok
read       GET     /carts                                   -         401    403     403   ok
read       GET     /carts/{user_id}                         customer  401    403     403   ok
read       GET     /me/export                               own       401    ok      ok    ok
read       GET     /marketing/overview                      -         401    403     403   ok
read       GET     /marketing/customers                     -         401    403     403   ok
read       GET     /marketing/products                      -         401    403     403   ok
read       GET     /marketing/daily                         -         401    403     403   ok
read       GET     /dashboard                               -         401    403     403   ok    ok
read       GET     /audit                                   -         401    403     403   ok    ok
read       GET     /sagas                                   -         401    403     403   ok    ok
read       GET     /events                                  -         401    403     403   ok    ok
read       GET     /events/stream                           -         401    403     403   ok    ok
read       GET     /events/held                             -         401    403     403   ok    ok
read       DELETE  /events/held/{source}/{position}/{event_id}  -     401    403     403   404    404
read       GET     /rebuild                                 -         401    403     403   ok    ok
read       POST    /rebuild                                 -         401    403     403   ok    ok

order      GET     /dead-letters                            -         401    403     403   ok    ok
order      GET     /dead-letters/{entity}                   -         401    403     403   404    404
order      POST    /dead-letters/{entity}/redrive           -         401    403     403   404    404
order      POST    /dead-letters/{entity}/try               -         401    403     403   404    404
order      POST    /dead-letters/{entity}/discard           -         401    403     403   404    404
order      POST    /redrives                                -         401    403     403   ok    ok
order      GET     /redrives/{redrive_id}                   -         401    403     403   404    404
inventory  GET     /dead-letters                            -         401    403     403   ok    ok
inventory  GET     /dead-letters/{entity}                   -         401    403     403   404    404
inventory  POST    /dead-letters/{entity}/redrive           -         401    403     403   404    404
inventory  POST    /dead-letters/{entity}/try               -         401    403     403   404    404
inventory  POST    /dead-letters/{entity}/discard           -         401    403     403   404    404
inventory  POST    /redrives                                -         401    403     403   ok    ok
inventory  GET     /redrives/{redrive_id}                   -         401    403     403   404    404
shipping   GET     /dead-letters                            -         401    403     403   ok    ok
shipping   GET     /dead-letters/{entity}                   -         401    403     403   404    404
shipping   POST    /dead-letters/{entity}/redrive           -         401    403     403   404    404
shipping   POST    /dead-letters/{entity}/try               -         401    403     403   404    404
shipping   POST    /dead-letters/{entity}/discard           -         401    403     403   404    404
shipping   POST    /redrives                                -         401    403     403   ok    ok
shipping   GET     /redrives/{redrive_id}                   -         401    403     403   404    404
notifier   GET     /dead-letters                            -         401    403     403   ok    ok
notifier   GET     /dead-letters/{entity}                   -         401    403     403   404    404
notifier   POST    /dead-letters/{entity}/redrive           -         401    403     403   404    404
notifier   POST    /dead-letters/{entity}/try               -         401    403     403   404    404
notifier   POST    /dead-letters/{entity}/discard           -         401    403     403   404    404
notifier   POST    /redrives                                -         401    403     403   ok    ok
notifier   GET     /redrives/{redrive_id}                   -         401    403     403   404    404
read       GET     /dead-letters                            -         401    403     403   ok    ok
read       GET     /dead-letters/{entity}                   -         401    403     403   404    404
read       POST    /dead-letters/{entity}/redrive           -         401    403     403   404    404
read       POST    /dead-letters/{entity}/try               -         401    403     403   404    404
read       POST    /dead-letters/{entity}/discard           -         401    403     403   404    404
read       POST    /redrives                                -         401    403     403   ok    ok
read       GET     /redrives/{redrive_id}                   -         401    403     403   404    404
"""

CALLERS = ("nobody", "another", "owner", "admin", "operator")


class Entry(NamedTuple):
    service: str
    method: str
    path: str
    whose: str
    answers: dict[str, str]
    """`ok` or a status, by caller."""

    @property
    def route(self) -> str:
        """As in the OpenAPI document."""
        return f"{self.method} {self.path}"

    def __str__(self) -> str:
        return f"{self.service} {self.route} {self.whose}"


def entries() -> list[Entry]:
    _, *rows = [line.split() for line in TABLE.splitlines() if line]
    return [
        Entry(service, method, path, whose, _answers(*answers))
        for service, method, path, whose, *answers in rows
    ]


def _answers(
    nobody: str, another: str, owner: str, admin: str, operator: str | None = None
) -> dict[str, str]:
    answers = (nobody, another, owner, admin, operator or another)
    return dict(zip(CALLERS, answers, strict=True))
