"""Running job hooks: a Job in the tenant's namespace with the value in a Secret, watched to its end, then removed."""

import logging
from collections.abc import Mapping
from typing import Any

from elile.secrets.redact import Redacted
from elile.secrets.rotation.verify.outcome import Verification
from elile_operator.api.meta import FieldManager
from elile_operator.decide.binding import not_bound
from elile_operator.decide.jobs import (
    POD_SELECTOR,
    Files,
    HookJob,
    Sight,
    is_finished,
    is_ours,
    job_manifest,
    job_name,
    judge,
    look,
    not_allowed,
    render_files,
    secret_manifest,
    unfinished,
)
from elile_operator.engine import Clock
from elile_operator.kube.client import Json, KubeClient
from elile_operator.kube.errors import (
    KubeConflictError,
    KubeError,
    KubeExistsError,
    KubeForbiddenError,
    KubeInvalidError,
    KubeNotFoundError,
    KubeThrottledError,
    KubeUnavailableError,
)
from elile_operator.kube.resources import JOBS, PODS, SECRETS, Resource

__all__ = ["JobRunner"]

log = logging.getLogger(__name__)

LOOK = 0.5
# Seconds beyond the deadline of the Job, in which the controller of Jobs is to end it.
BEYOND = 15.0
# Tries to make what something else of the same name is in the way of.
TRIES = 20


class _Refused(Exception):  # noqa: N818 - an outcome on its way out
    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.verification = Verification.inconclusive(detail)


class JobRunner:
    """Runs tries of job hooks, each key once at a time. Nothing is raised for what the API server says.

    1. The Job, unless it is there: a process that died may have made it, and its answer counts.
    2. The Secret, owned by the Job: the pod waits for it, and it goes with the Job, whatever becomes of this process.
    3. A look at Job and pod every half second.
    4. The Secret and the Job are removed, first the Secret, also when the task is cancelled.

    `account` is the operator's `<namespace>:<ServiceAccount>`, for the command that gives it a right.
    """

    def __init__(self, kube: KubeClient, *, clock: Clock, account: str) -> None:
        self._kube = kube
        self._clock = clock
        self._account = account

    async def run(self, job: HookJob, value: Redacted[Mapping[str, Any]]) -> Verification:
        """Return what the container makes of the value. `inconclusive` when it could not say."""
        files = render_files(job, value)
        if isinstance(files, Verification):
            return files
        try:
            return await self._watch(job, await self._begin(job, files))
        except _Refused as e:
            return e.verification
        except KubeError as e:
            log.warning("job hook not run", extra={"fields": {**_fields(job), "error": e.safe_text}})
            return Verification.inconclusive(
                f"the API server did not let the job hook {job.hook!r} be run ({e.safe_text}): it is tried again"
            )
        finally:
            await self._clean(job)

    # ── beginning ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _begin(self, job: HookJob, files: Files) -> Json:
        """Return the Job as it was found or made, with its Secret beside it."""
        for _ in range(TRIES):
            body = await self._find(JOBS, job) or await self._create_job(job)
            if body is not None and (is_finished(body) or await self._give(job, body, files)):
                return body
            await self._clock.sleep(LOOK)
        raise _Refused(f"what is left of an earlier Job of the hook {job.hook!r}, {_name(job)}, does not go: delete it")

    async def _create_job(self, job: HookJob) -> Json | None:
        """Make the Job; None: somebody was faster, look again."""
        try:
            return await self._kube.create(JOBS, job.namespace, job_manifest(job), manager=FieldManager.SECRETS)
        except KubeExistsError:
            return None
        except (KubeForbiddenError, KubeInvalidError):  # that Jobs may be made at all was seen when one was looked for
            raise _Refused(
                f"the Job of the hook {job.hook!r} is refused in namespace {job.namespace!r}: an admission policy, a "
                f"webhook or a quota has to let Jobs {_name(job)} of the operator pass"
            ) from None

    async def _give(self, job: HookJob, body: Json, files: Files) -> bool:
        """Have the Secret beside the Job; False: what is there has to go first, look again."""
        if body["metadata"].get("deletionTimestamp"):
            return False
        wanted = secret_manifest(job, body["metadata"]["uid"], files)
        found = await self._find(SECRETS, job)
        if found is None:
            try:
                await self._kube.create(SECRETS, job.namespace, wanted, manager=FieldManager.SECRETS)
            except KubeExistsError:
                return False
            return True
        if _owner(found) == body["metadata"]["uid"] and found.get("data") == wanted["data"]:
            return True
        # Of a Job that is gone, or of another value: whatever that Job says is no answer to what is asked now.
        await self._delete(SECRETS, found)
        await self._delete(JOBS, body)
        return False

    # ── watching ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _watch(self, job: HookJob, body: Json) -> Verification:
        uid, sight = body["metadata"]["uid"], Sight()
        end = self._clock.monotonic() + job.timeout.total_seconds() + BEYOND
        while True:
            try:
                found = await self._find(JOBS, job)
                if found is None or found["metadata"]["uid"] != uid:
                    raise _Refused(f"the Job of the hook {job.hook!r}, {_name(job)}, was deleted before it ended")
                # After the Job: once that says "failed", the pod tells with what.
                selector = POD_SELECTOR.format(job_name(job))
                pods, _, _ = await self._kube.list_page(PODS, namespace=job.namespace, label_selector=selector)
                sight = look(job, uid, pods, sight)
                if (verdict := judge(job, found, sight)) is not None:
                    return verdict
            except (KubeUnavailableError, KubeThrottledError) as e:
                log.info("job hook not looked at", extra={"fields": {**_fields(job), "error": e.safe_text}})
            if self._clock.monotonic() >= end:
                return unfinished(job, sight)
            await self._clock.sleep(LOOK)

    # ── ending ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _clean(self, job: HookJob) -> None:
        for resource in (SECRETS, JOBS):
            try:
                if (found := await self._find(resource, job)) is not None:
                    await self._delete(resource, found)
            except _Refused:
                pass  # not ours, or no right to it: that was told
            except KubeError as e:
                # It goes five minutes after the Job has ended, and the next run of this key finds it by its name.
                fields = {**_fields(job), "kind": resource.kind, "error": e.safe_text}
                log.warning("left behind for a while", extra={"fields": fields})

    async def _find(self, resource: Resource, job: HookJob) -> Json | None:
        """Return the Job or the Secret, None when there is none; refuse what is somebody else's."""
        try:
            found = await self._kube.get(resource, job.namespace, job_name(job))
        except KubeNotFoundError:
            return None
        except KubeForbiddenError:
            missing = not_allowed if resource is JOBS else not_bound
            raise _Refused(missing(job.namespace, self._account).message) from None
        if not is_ours(job, found):
            raise _Refused(
                f"the {resource.kind} {_name(job)} is not the operator's, which needs the name for the hook "
                f"{job.hook!r}: delete it"
            )
        return found

    async def _delete(self, resource: Resource, found: Json) -> None:
        meta = found["metadata"]
        try:
            # Its pods with a Job: by default they would be left.
            await self._kube.delete(
                resource, meta["namespace"], meta["name"], preconditions={"uid": meta["uid"]}, propagation="Background"
            )
        except (KubeNotFoundError, KubeConflictError):
            return


def _name(job: HookJob) -> str:
    return f"{job.namespace}/{job_name(job)}"


def _owner(body: Json) -> str:
    owners = body["metadata"].get("ownerReferences") or []
    return str(owners[0]["uid"]) if owners else ""


def _fields(job: HookJob) -> dict[str, str]:
    return {"namespace": job.namespace, "name": job_name(job), "rotation": job.rotation, "hook": job.hook}
