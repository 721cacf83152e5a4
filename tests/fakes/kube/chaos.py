"""What a test can order to go wrong, and the log of all requests by which it counts."""

import asyncio
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from tests.fakes.kube.errors import StatusError, of_chaos

__all__ = ["Chaos", "Request", "Requests", "Rule"]


@dataclass(slots=True)
class Request:
    """One request, as it came and as it ended."""

    verb: str  # get, list, watch, create, update, patch, apply, delete, token, review, discovery
    resource: str
    subresource: str
    namespace: str
    name: str
    agent: str
    continued: bool  # a list's later page
    at: float  # monotonic seconds
    status: int = 0  # 0: it has no answer yet, or the client left
    effect: str = ""  # of a write: created, changed, unchanged, deleted
    fault: bool = False  # answered by order of a test

    @property
    def is_write(self) -> bool:
        return self.verb in ("create", "update", "patch", "apply", "delete")


class Requests:
    """All requests so far, oldest first."""

    def __init__(self, found: Iterable[Request] = ()) -> None:
        self.all = list(found)

    def __iter__(self):  # type: ignore[no-untyped-def] # of Request
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    def where(
        self,
        *,
        verb: str | Collection[str] = (),
        resource: str | Collection[str] = (),
        subresource: str | None = None,
        status: int | None = None,
        effect: str | None = None,
        agent: str | None = None,
        fault: bool | None = None,
        since: float = 0.0,
    ) -> "Requests":
        """Return those that match everything given; several verbs or resources are alternatives."""
        verbs, resources = _alternatives(verb), _alternatives(resource)
        return Requests(
            r
            for r in self.all
            if (not verbs or r.verb in verbs)
            and (not resources or r.resource in resources)
            and subresource in (None, r.subresource)
            and status in (None, r.status)
            and effect in (None, r.effect)
            and (agent is None or r.agent.startswith(agent))
            and fault in (None, r.fault)
            and r.at >= since
        )

    def writes(self) -> "Requests":
        return Requests(r for r in self.all if r.is_write)


def _alternatives(given: str | Collection[str]) -> frozenset[str]:
    return frozenset({given} if isinstance(given, str) else given)


@dataclass(slots=True)
class Rule:
    """Answer matching requests with a status, while `times` and `until` last."""

    code: int
    verbs: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str]
    namespaces: frozenset[str]
    subresource: str | None
    continued: bool | None
    times: int | None
    until: float | None
    delay: float
    headers: dict[str, str] = field(default_factory=dict)
    hits: int = 0

    def matches(self, request: Request) -> bool:
        if self.times is not None and self.hits >= self.times:
            return False
        if self.until is not None and time.monotonic() >= self.until:
            return False
        return (
            (not self.verbs or request.verb in self.verbs)
            and (not self.resources or request.resource in self.resources)
            and (not self.names or request.name in self.names)
            and (not self.namespaces or request.namespace in self.namespaces)
            and self.subresource in (None, request.subresource)
            and self.continued in (None, request.continued)
        )


class Chaos:
    """The switches for answers; those for streams belong to `Streams`."""

    def __init__(self) -> None:
        self.log: list[Request] = []
        self.latency = 0.0  # seconds before every answer
        self.tokens: frozenset[str] | None = None  # bearer tokens that are accepted; None: everybody is
        self._rules: list[Rule] = []

    def answer(
        self,
        code: int,
        *,
        verbs: Collection[str] = (),
        resources: Collection[str] = (),
        names: Collection[str] = (),
        namespaces: Collection[str] = (),
        subresource: str | None = None,
        continued: bool | None = None,
        times: int | None = None,
        seconds: float | None = None,
        retry_after: int | None = None,
        delay: float = 0.0,
    ) -> Rule:
        """Answer matching requests with `code`, `times` or for `seconds`; without both until `stop`.

        What is left out matches everything. `patch` does not include `apply`. `continued` picks later pages of lists.
        `delay` is how many seconds such an answer takes.
        """
        rule = Rule(
            code=code,
            verbs=frozenset(verbs),
            resources=frozenset(resources),
            names=frozenset(names),
            namespaces=frozenset(namespaces),
            subresource=subresource,
            continued=continued,
            times=times,
            until=None if seconds is None else time.monotonic() + seconds,
            delay=delay,
            headers={} if retry_after is None else {"Retry-After": str(retry_after)},
        )
        self._rules.append(rule)
        return rule

    def stop(self, rule: Rule | None = None) -> None:
        """End one rule, or all of them."""
        self._rules = [r for r in self._rules if rule is not None and r is not rule]

    async def refuse(self, request: Request) -> StatusError | None:
        """Return the refusal that was ordered for a request, if one was, as late as that was ordered."""
        for rule in self._rules:
            if rule.matches(request):
                rule.hits += 1
                request.fault = True
                await asyncio.sleep(rule.delay)
                return of_chaos(rule.code, "ordered by a test", rule.headers)
        return None

    def forbids(self, verb: str, resource: str, namespace: str, name: str, subresource: str) -> bool:
        """Whether a 403 is ordered for such a request: what SelfSubjectAccessReview is about."""
        asked = Request(verb, resource, subresource, namespace, name, agent="", continued=False, at=0.0)
        return any(rule.code == 403 and rule.matches(asked) for rule in self._rules)
