"""Whether what is live still works, between rotations: somebody may have changed the account by hand."""

import time
from collections.abc import Callable

from elile.secrets.rotation.engine import Parts, hooks_of
from elile.secrets.rotation.journal import Value
from elile.secrets.rotation.steps import Stage
from elile.secrets.rotation.verify.hooks import Judged, judge, together
from elile.secrets.rotation.verify.outcome import Verification

__all__ = ["check"]


def check(
    parts: Parts,
    value: Value,
    *,
    sleep: Callable[[float], None] = time.sleep,
    on_judged: Callable[[Judged], None] = lambda _: None,
) -> Verification:
    """Have the target look at a value, and run the hooks of the stage Drift on it; changes nothing. Blocks.

    The target's look is a login that shows whose value it is, for a set of keys a trial of each key. It comes first,
    and a failure ends it: a wrong password is sent once. What comes of it names the hook.
    """
    judged = judge(value, hooks_of(parts, Stage.DRIFT), sleep=sleep)
    for one in judged:
        on_judged(one)
    return together(judged)
