"""The consumers of an ElileSecret: what the cluster says of them, what they answer, and what is restarted for them."""

from collections.abc import Sequence
from datetime import datetime

from elile_operator.api.elilesecret import ElileSecret
from elile_operator.controllers.restarts import Restarts
from elile_operator.decide.consumers import Evidence, Verdict, judge, to_ask
from elile_operator.decide.live import LiveSecret
from elile_operator.decide.pods import PodView
from elile_operator.delivery.proof import Prober
from elile_operator.engine import Clock, ObjectKey

__all__ = ["ConsumersWatch"]


class ConsumersWatch:
    """Asks and restarts the consumers of each object that comes by, and judges what is known of them now."""

    def __init__(self, *, prober: Prober, restarts: Restarts, clock: Clock) -> None:
        self._prober = prober
        self._restarts = restarts
        self._clock = clock

    def look(
        self,
        secret: ElileSecret,
        live: LiveSecret,
        pods: Sequence[PodView],
        *,
        changed: datetime | None,
        poked: bool,
    ) -> Verdict:
        """Judge the consumers, and see to it that more becomes known. Asks nobody itself."""
        key = ObjectKey(secret.metadata.namespace or "", secret.metadata.name)
        evidence = Evidence(
            pods=pods,
            changed=changed,
            poked=poked,
            answers=self._prober.answers(key),
            restarts=self._restarts.want(secret, live, pods, changed),
            told=secret.status.consumers,
        )
        verdict = judge(secret.spec.consumers, live, evidence, self._clock.now())
        proof = secret.spec.consumers.proof
        if proof is not None and proof.http is not None and not verdict.proved:
            self._prober.want(key, live.revision, proof.http, to_ask(pods, live, changed))
        else:
            self._prober.forget(key)
        return verdict

    def forget(self, key: ObjectKey) -> None:
        """The object is gone."""
        self._prober.forget(key)
        self._restarts.forget(key)
