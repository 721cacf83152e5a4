"""What a Rotation may ask for that is no run: a look whether one could begin, and the end of a key."""

from collections.abc import Callable, Sequence

from elile.secrets.errors import SecretConflictError, SecretsError
from elile.secrets.rotation.destroying import KVVersions
from elile.secrets.rotation.dry_run import Finding, dry_run
from elile.secrets.rotation.journal import Owner
from elile.secrets.rotation.keys import Keys, destroy_key
from elile.secrets.rotation.verify.outcome import Outcome
from elile_operator.api.reasons import Reason
from elile_operator.api.rotation import Action, Rotation, RotationResult
from elile_operator.controllers.driving import Driver, Ground
from elile_operator.decide.orders import Answer

__all__ = ["ErrandRunner"]


class ErrandRunner:
    """Does errands as the rotator of the tenant."""

    def __init__(self, *, driver: Driver, guard: Callable[[], None]) -> None:
        self._driver = driver
        self._guard = guard

    async def do(self, ground: Ground, rotation: Rotation, owner: Owner) -> Answer:
        """Do what a DryRun or a DestroyKey asks for, and return what came of it. Raises outages and conflicts."""
        if rotation.spec.action is Action.DRY_RUN:
            found = await self._driver.blocking(lambda: dry_run(self._driver.parts(ground)))
            return _of_dry_run(rotation, ground, found)
        try:
            await self._driver.blocking(lambda: self._destroy(ground, rotation, owner))
        except SecretConflictError:
            raise
        except SecretsError as e:
            if e.retryable:
                raise
            return Answer(
                rotation=rotation,
                result=RotationResult.ABORTED,
                reason=Reason.PREFLIGHT_FAILED,
                message=f"key {rotation.spec.key_id!r} was not destroyed: {e.safe_text}",
            )
        return Answer(
            rotation=rotation,
            result=RotationResult.SUCCEEDED,
            reason=Reason.RETIRED,
            message=f"key {rotation.spec.key_id!r} is destroyed, in every version of the live path",
        )

    def _destroy(self, ground: Ground, rotation: Rotation, owner: Owner) -> None:
        parts, place = self._driver.parts(ground), ground.place
        keys = Keys(path=place.path, live=parts.live, journal=parts.journal, owner=owner, guard=self._guard)
        versions = KVVersions(ground.calls, mount=place.mount, path=place.path)
        destroy_key(keys, versions, rotation.spec.key_id or "")


def _of_dry_run(rotation: Rotation, ground: Ground, found: Sequence[Finding]) -> Answer:
    bad = [one for one in found if one.verification.outcome is not Outcome.PASSED]
    if not bad:
        names = ", ".join(one.name for one in found)
        return Answer(
            rotation=rotation,
            result=RotationResult.SUCCEEDED,
            reason=Reason.VERIFICATION_PASSED,
            message=f"a rotation could begin; looked at: {names}",
        )
    refusal = ground.state.refusal
    text = "; ".join(f"{one.name}: {one.verification.detail}" for one in bad)
    return Answer(
        rotation=rotation,
        result=RotationResult.ABORTED,
        reason=refusal.reason if refusal is not None else Reason.PREFLIGHT_FAILED,
        message=f"a rotation could not begin: {text}",
    )
