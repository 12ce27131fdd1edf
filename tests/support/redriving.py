"""A service whose rules fail for some orders until they are repaired, and the redrives of its dead letters."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from shared.chassis.engine.redrive import DecidingRedrive
from shared.chassis.engine.redriver import Redriver
from shared.chassis.engine.service_logic import ServiceLogic
from shared.chassis.messages.catalog import Catalog
from shared.chassis.storage.dead_letters import DEAD_LETTER, of_entity
from shared.chassis.storage.redrives import Redrive
from shared.contracts import CATALOG
from tests.support.chassis import INVENTORY, Chassis, writing


class Rules:
    """Those of the inventory, with a fault for the orders and the commands in `faulty`."""

    def __init__(self) -> None:
        self.faulty: set[str] = set()
        self.fault = "no answer"

    @property
    def logic(self) -> ServiceLogic[Any, Any]:
        decider = INVENTORY.logic.decider

        def decide(state: Any, command: Struct) -> list[Any]:
            if self.faulty & {type(command).__name__, getattr(command, "order_id", "")}:
                raise ZeroDivisionError(f"{self.fault} for {command.order_id}")
            return decider.decide(state, command)

        return INVENTORY.logic._replace(decider=decider._replace(decide=decide))


class Redriving:
    """The inventory at work, with a redriver that tests start and stop."""

    def __init__(self, chassis: Chassis, rules: Rules, catalog: Catalog) -> None:
        self.chassis = chassis
        self.rules = rules
        self.redriver = Redriver(
            chassis.reads, chassis.writer, DecidingRedrive("inventory", rules.logic, catalog)
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        loop = asyncio.create_task(self.redriver.run())
        try:
            yield
        finally:
            loop.cancel()
            await asyncio.wait([loop])

    async def redrive(self, order_id: str) -> list[tuple[str | None, str]]:
        """Type and outcome of each letter of the order."""
        redrive_id = await self.redriver.request(of_entity(order_id), by="olga")
        return outcomes(await self.redriver.wait(redrive_id, 10))

    async def letters(self) -> list[tuple[str, str, str]]:
        return [
            (row["entity_id"], row["event_type"], row["status"])
            for row in await self.chassis.rows(DEAD_LETTER)
        ]


def outcomes(redrive: Redrive | None) -> list[tuple[str | None, str]]:
    assert redrive is not None
    assert redrive.is_finished
    return [(item.event_type, str(item.outcome)) for item in redrive.items]


@asynccontextmanager
async def redriving(
    path: Path, *, rules: Rules | None = None, catalog: Catalog = CATALOG, is_running: bool = True
) -> AsyncIterator[Redriving]:
    """The service; opened again on the same path it is restarted."""
    rules = rules or Rules()
    async with writing(path, INVENTORY._replace(logic=rules.logic)) as chassis:
        service = Redriving(chassis, rules, catalog)
        if not is_running:
            yield service
            return
        async with service.running():
            yield service
