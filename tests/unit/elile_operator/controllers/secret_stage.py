"""The parts that a controller of ElileSecrets works with, and one of it."""

from datetime import timedelta
from typing import Any

import pytest

from elile_operator.controllers.secret import SecretController
from elile_operator.engine import ObjectKey, Result
from tests.unit.elile_operator.controllers.stage import ACCOUNT, KEY, Stage


class SecretStage(Stage):
    """The parts, with a controller of ElileSecrets; objects read the entry `db` unless they say otherwise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.suspected: list[str] = []
        self.controller = self.new_controller()

    def new_controller(self) -> SecretController:
        """A controller that has just started."""
        return SecretController(
            world=self.world,
            servers=self.servers,
            reads=self.reads,
            holdings=self.holdings,
            kube=self.kube,  # type: ignore[arg-type]
            writer=self.writer,
            poker=self.poker,
            consumers=self.consumers,
            events=self.events,
            key=KEY,
            account=ACCOUNT,
            clock=self.clock,
            standby_lag=timedelta(minutes=10),
            observer=self,
            on_server_trouble=self.suspected.append,
        )

    async def look(self, name: str = "db") -> Result:
        return await self.controller.reconcile(ObjectKey("shop", name))

    async def delivered(self, **spec: Any) -> None:
        """An object that was delivered and told, and nothing since."""
        self.want(**spec)
        await self.look()
        assert self.says() == "True Synced"
        self.calls()
        self.events.told.clear()
        self.written.clear()

    def poked(self) -> dict[str, str]:
        """The poke each pod has."""
        found: dict[str, str] = {}
        for write in self.kube.writes:
            if write.verb == "merge":
                found[write.name] = write.body["metadata"]["annotations"]["elile.io/delivered.db"]
        return found
