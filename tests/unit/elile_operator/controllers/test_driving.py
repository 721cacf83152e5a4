"""Passes of the engine in threads: one may stop between two steps, and the next one goes on from the journal."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from elile.secrets.memory import MemoryBackend
from elile.secrets.redact import SecretStr
from elile.secrets.rotation.egress import Dialer
from elile.secrets.rotation.engine import End, Parts
from elile.secrets.rotation.journal import Phase, Reason, Strategy
from elile.secrets.rotation.journal_memory import MemoryJournal
from elile.secrets.rotation.live import BackendLive
from elile.secrets.rotation.policy import Policy
from elile.secrets.rotation.steps import Delivered, Proofs, Wait
from elile_operator.controllers.driving import Driver, Ground, RunState
from tests.fakes.accounts import Accounts
from tests.fakes.rotation import NOW, OWNER, REQUEST

PATH = "team/db"
POLICY = Policy(owner=OWNER, strategy=Strategy.DUAL_USER, request=REQUEST)


class Readers:
    def deliver(self, value: Any, live_version: int) -> Delivered:
        return Delivered.DONE

    def proofs(self, value: Any, live_version: int) -> Proofs:
        return Proofs.PROVED


class InMemory(Driver):
    """A driver of a rotation whose Vault and target are in memory."""

    def __init__(self) -> None:
        super().__init__(
            threads=ThreadPoolExecutor(1),
            dialer_of=lambda _: Dialer(None),
            now=lambda: NOW,
            monotonic=lambda: 0.0,
            guard=lambda: None,
            on_try=lambda *_: None,
        )
        self.accounts = Accounts({"shop_a": SecretStr("old"), "shop_b": None})
        self._parts = Parts(
            path=PATH,
            journal_id="test",
            journal=MemoryJournal(),
            live=BackendLive(MemoryBackend({PATH: {"username": "shop_a", "password": "old"}}), PATH),
            target=self.accounts,
            consumers=Readers(),
        )

    def parts(self, ground: Ground) -> Parts:
        return self._parts


def test_a_pass_that_is_only_to_begin_leaves_the_rest_to_the_next_one() -> None:
    driver, state = InMemory(), RunState()
    ground: Any = SimpleNamespace(state=state)
    phases: list[Phase | None] = []

    async def begin(_: object) -> bool:
        phases.append(state.entry.phase if state.entry is not None else None)
        return state.entry is None

    async def go_on(_: object) -> bool:
        phases.append(state.entry.phase if state.entry is not None else None)
        return True

    async def both() -> tuple[End | None, End | None]:
        first = await driver.drive(ground, lambda: POLICY, begin)
        assert state.entry is not None
        assert (state.entry.phase, state.entry.touched) == (Phase.PENDING, False)
        return first, await driver.drive(ground, lambda: replace(POLICY, request=None), go_on)

    first, second = asyncio.run(both())
    assert first is None
    assert isinstance(second, Wait)
    assert second.reason is Reason.IN_GRACE
    assert list(dict.fromkeys(phases)) == [
        None,
        Phase.PENDING,
        Phase.APPLIED,
        Phase.VERIFIED,
        Phase.PROMOTED,
    ]
