"""What the parts of a RotationSchedule ask of each other."""

from collections.abc import Iterator
from typing import Any

from elile_operator.api.httpcheck import HttpAuth
from elile_operator.api.rotating import ExternalStart
from elile_operator.api.rules import Rule, seconds_of
from elile_operator.api.targets import AccountStrategy
from elile_operator.api.verify import VerifyStage

_LOGINS = ("postgresql", "mariadb", "redis", "http")  # hooks that need to know which key is the value
_OF_KEYSETS = ("crypto", "job")
_ACCOUNTS = ("postgresql", "mariadb")


def _none_of(member: str, condition: str) -> str:
    """No hook of the kind fulfils the condition, in CEL."""
    return f"!self.verify.exists(h, has(h.{member}) && ({condition}))"


def _hooks(spec: Any, *members: str) -> Iterator[Any]:
    """What hooks of these kinds say."""
    return (check for hook in spec.verify for member in members if (check := getattr(hook, member)) is not None)


def _strategy(name: str) -> str:
    """Accounts are rotated with this strategy, in CEL."""
    one = "has(self.apply.{0}) && (has(self.apply.{0}.strategy) ? self.apply.{0}.strategy : 'DualUser') == '{1}'"
    return f"(has(self.apply) && ({' || '.join(one.format(kind, name) for kind in _ACCOUNTS)}))"


def _uses(spec: Any, strategy: AccountStrategy) -> bool:
    return spec.apply is not None and getattr(spec.apply.target, "strategy", None) is strategy


_SINGLE = _strategy("SingleUser")
_DUAL = _strategy("DualUser")
_HAS_VALUE = "has(self.fields) && has(self.fields.value)"
_HAS_USERNAME = "has(self.fields) && has(self.fields.username)"
_IS_BASIC = "has(h.http.auth) && h.http.auth == 'Basic'"
_STAGE = "(has(h.stage) ? h.stage : 'Pending')"


def _place(kind: str, member: str) -> Rule:
    """A hook says which server, unless the target of its kind does."""
    return Rule(
        f"(has(self.apply) && has(self.apply.{kind})) || {_none_of(kind, f'!has(h.{kind}.{member})')}",
        f"spec.verify[].{kind}.{member} must say where, since spec.apply.{kind} is not there to say it",
        lambda v: (
            (v.apply is not None and getattr(v.apply, kind) is not None)
            or all(getattr(check, member) is not None for check in _hooks(v, kind))
        ),
    )


def _account(kind: str) -> Rule:
    """A login is compared with somebody."""
    return Rule(
        f"(has(self.apply) && has(self.apply.{kind})) || ({_HAS_USERNAME}) || {_none_of(kind, f'!has(h.{kind}.user)')}",
        f"spec.verify[].{kind}.user must say whose login it is, since neither spec.fields.username nor "
        f"spec.apply.{kind} does",
        lambda v: (
            (v.apply is not None and getattr(v.apply, kind) is not None)
            or v.fields.username is not None
            or all(check.user is not None for check in _hooks(v, kind))
        ),
    )


_VALUE = (
    Rule(
        "!has(self.apply) || has(self.value.generate)",
        "spec.apply sets what spec.value.generate makes; remove spec.apply, or generate the value",
        lambda v: v.apply is None or v.value.generate is not None,
    ),
    Rule(
        "!has(self.apply) || !has(self.value.generate) || !(has(self.value.generate.rsa) || "
        "has(self.value.generate.ed25519))",
        "spec.value.generate.rsa and ed25519 make keys in PEM, which spec.apply cannot set; use password",
        lambda v: (
            v.apply is None or v.value.generate is None or (v.value.generate.rsa or v.value.generate.ed25519) is None
        ),
    ),
    Rule(
        f"!has(self.value.generate) || ({_HAS_VALUE})",
        "spec.fields.value must name the key that spec.value.generate fills, for example password",
        lambda v: v.value.generate is None or v.fields.value is not None,
    ),
    Rule(
        "!has(self.value.keyset) || !has(self.fields)",
        "spec.fields is not for spec.value.keyset, which writes the whole entry; remove it",
        lambda v: v.value.keyset is None or "fields" not in v.model_fields_set,
    ),
    Rule(
        "!has(self.value.external) || !has(self.value.external.start) || self.value.external.start != 'AtSchedule' || "
        "has(self.schedule)",
        "spec.value.external.start AtSchedule needs spec.schedule; set it, or use OnStage",
        lambda v: (
            v.value.external is None
            or v.value.external.start is not ExternalStart.AT_SCHEDULE
            or v.schedule is not None
        ),
    ),
)

_TARGET = (
    Rule(
        f"!{_SINGLE} || (has(self.acceptDowntime) && self.acceptDowntime)",
        "spec.apply with strategy SingleUser leaves consumers without a valid password until they have the new one; "
        "set spec.acceptDowntime: true, or use DualUser",
        lambda v: v.accept_downtime or not _uses(v, AccountStrategy.SINGLE_USER),
    ),
    Rule(
        f"!{_DUAL} || ({_HAS_USERNAME})",
        "spec.fields.username must name the key of the user's name, which strategy DualUser changes with the password",
        lambda v: v.fields.username is not None or not _uses(v, AccountStrategy.DUAL_USER),
    ),
    Rule(
        f"!has(self.promote) || !has(self.promote.sessionsQuiet) || {_DUAL}",
        "spec.promote.sessionsQuiet needs spec.apply.postgresql or mariadb with strategy DualUser; remove it",
        lambda v: v.promote.sessions_quiet is None or _uses(v, AccountStrategy.DUAL_USER),
    ),
)

_TIMES = (
    Rule(
        f"!has(self.splay) || !has(self.window) || {seconds_of('self.splay')} < {seconds_of('self.window')}",
        "spec.splay must be shorter than spec.window: some runs would never start; shorten it",
        lambda v: v.splay is None or v.window is None or v.splay < v.window,
    ),
    Rule(
        f"(has(self.drift) && has(self.drift.interval)) || !self.verify.exists(h, {_STAGE} == 'Drift')",
        "spec.drift.interval must say how often hooks of stage Drift are run; set it, or choose another stage",
        lambda v: v.drift.interval is not None or not any(h.stage is VerifyStage.DRIFT for h in v.verify),
    ),
)

_HOOKS = (
    Rule(
        f"({_HAS_VALUE}) || !self.verify.exists(h, {' || '.join(f'has(h.{kind})' for kind in _LOGINS)}) || "
        "has(self.value.keyset)",
        f"spec.fields.value must name the key that the hooks {', '.join(_LOGINS)} log in with",
        lambda v: v.fields.value is not None or v.value.keyset is not None or not any(_hooks(v, *_LOGINS)),
    ),
    Rule(
        f"!has(self.value.keyset) || self.verify.all(h, {' || '.join(f'has(h.{kind})' for kind in _OF_KEYSETS)})",
        "spec.verify of spec.value.keyset must hold hooks of the kinds crypto and job only; remove the others",
        lambda v: v.value.keyset is None or all(hook.check in _OF_KEYSETS for hook in v.verify),
    ),
    Rule(
        f"has(self.value.keyset) || {_none_of('crypto', 'true')}",
        "spec.verify[].crypto is for spec.value.keyset; remove it",
        lambda v: v.value.keyset is not None or not any(_hooks(v, "crypto")),
    ),
    Rule(
        f"has(self.apply) || {_none_of('negative', 'true')}",
        "spec.verify[].negative needs spec.apply: nothing else ends the old value; remove it",
        lambda v: v.apply is not None or not any(_hooks(v, "negative")),
    ),
    Rule(
        f"has(self.apply) || self.verify.exists(h, !has(h.negative) && {_STAGE} == 'Pending')",
        "spec.verify must hold a hook of stage Pending: without spec.apply nothing else tries the new value before it "
        "is live",
        lambda v: (
            v.apply is not None or any(h.negative is None and h.stage in (None, VerifyStage.PENDING) for h in v.verify)
        ),
    ),
    Rule(
        f"({_HAS_USERNAME}) || {_none_of('http', _IS_BASIC)}",
        "spec.verify[].http.auth Basic needs spec.fields.username, the key of the user's name; set it",
        lambda v: v.fields.username is not None or not any(h.auth is HttpAuth.BASIC for h in _hooks(v, "http")),
    ),
    _place("postgresql", "host"),
    _place("mariadb", "host"),
    _place("redis", "nodes"),
    *map(_account, ("postgresql", "mariadb", "redis")),
)

RULES = (*_VALUE, *_TARGET, *_TIMES, *_HOOKS)
