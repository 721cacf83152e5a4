"""The verification hooks of the rotation engine, made of what a RotationSchedule says."""

import base64
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from elile.secrets.errors import SecretsConfigurationError
from elile.secrets.redact import SecretStr
from elile.secrets.rotation.drivers.mariadb import MariaDBEndpoint
from elile.secrets.rotation.drivers.postgresql import PostgreSQLEndpoint
from elile.secrets.rotation.drivers.redis import RedisNode
from elile.secrets.rotation.egress import Dialer
from elile.secrets.rotation.journal import Value
from elile.secrets.rotation.policy import OnInconclusive
from elile.secrets.rotation.steps import Stage
from elile.secrets.rotation.targets.fields import CredentialFields
from elile.secrets.rotation.targets.keyset import KeysetTarget
from elile.secrets.rotation.verify.hooks import Hook
from elile.secrets.rotation.verify.http import PRESETS, HttpProbe, verify_http
from elile.secrets.rotation.verify.mariadb import MariaDBCheck, verify_mariadb
from elile.secrets.rotation.verify.outcome import Outcome, Verification
from elile.secrets.rotation.verify.postgresql import PostgreSQLCheck, verify_postgresql
from elile.secrets.rotation.verify.redis import RedisAccount, RedisCheck, verify_redis
from elile.secrets.rotation.verify.tls import TlsCheck, verify_tls
from elile_operator.api import checks, verify
from elile_operator.api.endpoints import ClientTls
from elile_operator.api.httpcheck import HttpAuth, HttpCheck
from elile_operator.api.rotationschedule import RotationScheduleSpec
from elile_operator.api.targets import MariaDBApply, PostgreSQLApply
from elile_operator.delivery.targets import credential_fields, redis_tls

__all__ = ["Check", "OnTry", "RunJob", "build_hooks", "timed", "wants_negative"]

Check = Callable[[Value], Verification]
# Runs the container of a hook on a value in a stage. Blocks.
RunJob = Callable[[verify.Hook, Value], Verification]
# Told of each try: the kind of the hook, what it came to, and its seconds.
OnTry = Callable[[str, Outcome, float], None]

_STAGES = {
    None: Stage.PENDING,
    verify.VerifyStage.PREFLIGHT: Stage.PREFLIGHT,
    verify.VerifyStage.PENDING: Stage.PENDING,
    verify.VerifyStage.AFTER_PROMOTE: Stage.AFTER_PROMOTE,
    verify.VerifyStage.BEFORE_RETIRE: Stage.BEFORE_RETIRE,
    verify.VerifyStage.DRIFT: Stage.DRIFT,
}
_INCONCLUSIVE = {
    verify.OnInconclusive.ABORT: OnInconclusive.ABORT,
    verify.OnInconclusive.RETRY: OnInconclusive.HOLD,
}
_PRESETS = {"OpenAI": "openai", "Anthropic": "anthropic"}


def wants_negative(spec: RotationScheduleSpec) -> bool:
    """Whether the old value has to work until it is retired, and to be refused from then on."""
    return any(hook.negative is not None for hook in spec.verify)


def build_hooks(
    spec: RotationScheduleSpec,
    *,
    dialer: Dialer,
    now: Callable[[], datetime],
    run_job: RunJob,
    monotonic: Callable[[], float],
    on_try: OnTry,
) -> tuple[Hook, ...]:
    """Return the hooks, in the order of the spec; `negative` is none of them, the engine itself looks."""
    builder = _Builder(spec, dialer, now, run_job)
    return tuple(
        Hook(
            name=hook.name,
            check=timed(hook.check, builder.check(hook), monotonic, on_try),
            stages=frozenset({_STAGES[hook.stage]}),
            attempts=hook.attempts,
            successes=hook.successes,
            initial_delay=hook.initial_delay.total_seconds(),
            on_inconclusive=_INCONCLUSIVE[hook.on_inconclusive],
        )
        for hook in spec.verify
        if hook.negative is None
    )


def timed(kind: str, check: Check, monotonic: Callable[[], float], on_try: OnTry) -> Check:
    """Return the same check, which tells how long it took and what it came to."""

    def run(value: Value) -> Verification:
        began = monotonic()
        outcome = Outcome.INCONCLUSIVE  # what an error comes to
        try:
            found = check(value)
            outcome = found.outcome
        finally:
            on_try(kind, outcome, monotonic() - began)
        return found

    return run


class _Builder:
    def __init__(
        self, spec: RotationScheduleSpec, dialer: Dialer, now: Callable[[], datetime], run_job: RunJob
    ) -> None:
        self._spec = spec
        self._dialer = dialer
        self._now = now
        self._run_job = run_job
        self._fields = credential_fields(spec)

    def check(self, hook: verify.Hook) -> Check:
        seconds = hook.timeout.total_seconds()
        if hook.postgresql is not None:
            return self._postgresql(hook.postgresql, seconds)
        if hook.mariadb is not None:
            return self._mariadb(hook.mariadb, seconds)
        if hook.redis is not None:
            return self._redis(hook.redis, seconds)
        if hook.http is not None:
            return self._http(hook.http, seconds)
        if hook.tls is not None:
            return self._tls(hook.tls, seconds)
        if hook.crypto is not None:
            return _crypto
        return lambda value: self._run_job(hook, value)

    # ── servers of databases ─────────────────────────────────────────────────────────────────────────────────────────

    def _postgresql(self, check: checks.PostgreSQLCheck, seconds: float) -> Check:
        target = self._spec.apply.postgresql if self._spec.apply else None
        host, port, trust = _where(check, target, 5432)
        endpoint = PostgreSQLEndpoint(
            host=host,
            port=port,
            database=check.database or (target.database if target else "postgres"),
            ca_pem=trust.ca_bundle,
            server_name=trust.server_name,
            allow_plain=trust.allow_plain,
        )

        def verified(value: Value) -> Verification:
            user, password = _login(value, self._fields)
            wanted = PostgreSQLCheck(
                endpoint=endpoint, user=check.user or user, owner=check.owner, assertion=check.assertion
            )
            return verify_postgresql(wanted, user, password, self._dialer, timeout=seconds)

        return verified

    def _mariadb(self, check: checks.MariaDBCheck, seconds: float) -> Check:
        target = self._spec.apply.mariadb if self._spec.apply else None
        host, port, trust = _where(check, target, 3306)
        endpoint = MariaDBEndpoint(
            host=host,
            port=port,
            database=check.database or (target.database if target else None) or "",
            ca_pem=trust.ca_bundle,
            server_name=trust.server_name,
            allow_plain=trust.allow_plain,
        )
        account_host = check.account_host or (target.account_host if target else "%")

        def verified(value: Value) -> Verification:
            user, password = _login(value, self._fields)
            wanted = MariaDBCheck(
                endpoint=endpoint, user=check.user or user, account_host=account_host, assertion=check.assertion
            )
            return verify_mariadb(wanted, user, password, self._dialer, timeout=seconds)

        return verified

    def _redis(self, check: checks.RedisCheck, seconds: float) -> Check:
        target = self._spec.apply.redis if self._spec.apply else None
        tls = redis_tls(_trust(check.tls, target.tls if target else None))
        named = check.nodes or (target.nodes if target else ())
        nodes = [RedisNode(node.host, node.port, tls) for node in named]

        def verified(value: Value) -> Verification:
            found = value.reveal()
            user = check.user or (target.user if target else str(found.get(self._fields.username, "default")))
            account = RedisAccount(user, _text(value, self._fields.value))
            wanted = RedisCheck(nodes=nodes, user=user, commands=check.commands)
            return verify_redis(wanted, account, self._dialer, timeout=seconds)

        return verified

    # ── everything else ──────────────────────────────────────────────────────────────────────────────────────────────

    def _http(self, check: HttpCheck, seconds: float) -> Check:
        probe = _probe(check, seconds)
        basic = check.auth is HttpAuth.BASIC

        def verified(value: Value) -> Verification:
            if not basic:
                return verify_http(probe, _text(value, self._fields.value), self._dialer)
            user, password = _login(value, self._fields)
            pair = base64.b64encode(f"{user}:{password.reveal()}".encode()).decode()
            return verify_http(probe, SecretStr(pair), self._dialer)

        return verified

    def _tls(self, check: checks.TlsCheck, seconds: float) -> Check:
        wanted = TlsCheck(
            names=check.names,
            ca_pem=check.ca_bundle,
            minimum_left=check.minimum_left or timedelta(0),
            server=(check.server.host, check.server.port) if check.server else None,
            timeout=seconds,
            certificate=check.certificate,
            key=check.key,
        )
        return lambda value: verify_tls(wanted, value, self._dialer, now=self._now())


def _where(
    check: checks.PostgreSQLCheck | checks.MariaDBCheck, target: PostgreSQLApply | MariaDBApply | None, default: int
) -> tuple[str, int, ClientTls]:
    """Return host, port and trust: those of the target, but for what the check says, and for another host."""
    if target is None or check.host not in (None, target.host):
        return check.host or "", check.port or default, _trust(check.tls, None)
    return target.host, check.port or target.port, _trust(check.tls, target.tls)


def _trust(own: ClientTls | None, inherited: ClientTls | None) -> ClientTls:
    return own or inherited or ClientTls()


def _probe(check: HttpCheck, seconds: float) -> HttpProbe:
    preset = PRESETS[_PRESETS[check.preset.value]] if check.preset else HttpProbe(url=check.url or "")
    header, scheme = preset.header, preset.scheme
    match check.auth:
        case HttpAuth.BEARER:
            header, scheme = "Authorization", "Bearer"
        case HttpAuth.BASIC:
            header, scheme = "Authorization", "Basic"
        case HttpAuth.HEADER:
            header, scheme = check.header or preset.header, ""
        case None:
            pass
    given: Mapping[str, str] = {h.name: h.value for h in check.headers}
    return HttpProbe(
        url=check.url or preset.url,
        method=check.method.value,
        header=header,
        scheme=scheme,
        headers={**preset.headers, **given},
        statuses=frozenset(check.statuses),
        equals={e.pointer: e.value for e in check.equals},
        timeout=seconds,
        ca_pem=check.tls.ca_bundle,
        allow_plain=check.tls.allow_plain_http,
    )


def _crypto(value: Value) -> Verification:
    return KeysetTarget().verify(value, timeout=0)


def _login(value: Value, fields: CredentialFields) -> tuple[str, SecretStr]:
    return _text(value, fields.username).reveal(), _text(value, fields.value)


def _text(value: Value, field: str) -> SecretStr:
    found: Any = value.reveal().get(field)
    if not isinstance(found, str) or not found:
        raise SecretsConfigurationError(f"the entry holds no text under {field!r}: correct spec.fields", backend="")
    return SecretStr(found)
