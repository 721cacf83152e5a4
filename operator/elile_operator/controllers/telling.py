"""What an ElileSecret tells of its rotations: which phase, when next, and whether one waits for its consumers."""

from collections.abc import Sequence

from elile_operator.api.elilesecret import ElileSecret, ElileSecretStatus
from elile_operator.api.meta import FieldManager
from elile_operator.api.rotationschedule import RotationSchedule
from elile_operator.controllers.board import Board
from elile_operator.controllers.status import apply_status
from elile_operator.controllers.world import World
from elile_operator.decide.conditions import find
from elile_operator.decide.secret_rotation import rotation_part
from elile_operator.engine import Clock, ObjectKey, Result
from elile_operator.kube.client import KubeClient
from elile_operator.kube.errors import KubeNotFoundError
from elile_operator.kube.resources import ELILE_SECRETS

__all__ = ["TellingController"]


class TellingController:
    """Writes the part of an ElileSecret's status that is about rotation, with the entries of all its schedules."""

    def __init__(self, *, world: World, board: Board, kube: KubeClient, clock: Clock) -> None:
        self._world = world
        self._board = board
        self._kube = kube
        self._clock = clock

    async def reconcile(self, key: ObjectKey) -> Result:
        """Bring that part up to date."""
        secret = self._world.secret(key)
        if not isinstance(secret, ElileSecret):
            return Result.absent()
        wanted = rotation_part(secret, self._schedules(key), self._board.waited_for(key), self._clock.now())
        if wanted == _present(secret):
            return Result.done()
        try:
            written = await apply_status(
                self._kube, ELILE_SECRETS, secret, wanted, manager=FieldManager.ROTATIONSCHEDULE_STATUS
            )
        except KubeNotFoundError:
            return Result.done()
        self._world.secrets.observe(written)
        return Result.done()

    def _schedules(self, key: ObjectKey) -> Sequence[RotationSchedule]:
        found = (self._world.schedule(k) for k in sorted(self._world.schedules.by("secret", key)))
        return [s for s in found if s is not None and s.metadata.deletion_timestamp is None]


def _present(secret: ElileSecret) -> ElileSecretStatus:
    status = secret.status
    healthy = find(status.conditions, "RotationHealthy")
    return ElileSecretStatus(
        conditions=(healthy,) if healthy is not None else (),
        rotations=status.rotations,
        rotation=status.rotation,
        next_rotation_time=status.next_rotation_time,
    )
