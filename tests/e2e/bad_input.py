"""Everything a user can get wrong, and what Elile says: the table behind test_bad_input.py and the page of reasons."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from elile_operator.api.reasons import Reason
from tests.e2e.support.fixtures import server_manifest
from tests.e2e.support.gate import Gate, Mode
from tests.e2e.support.tenant import Tenant

__all__ = ["AWAY", "CASES", "OBJECTS", "Case", "Scene"]

# A certificate authority that nobody uses, valid for ever after; its key was thrown away.
OTHER_CA = """\
-----BEGIN CERTIFICATE-----
MIIBLzCB1qADAgECAgEBMAoGCCqGSM49BAMCMBYxFDASBgNVBAMMC25vYm9keSdz
IENBMCAXDTI2MDEwMTAwMDAwMFoYDzIxMjYwMTAxMDAwMDAwWjAWMRQwEgYDVQQD
DAtub2JvZHkncyBDQTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABBZNmbmhvgDN
nB7VdosMuU8MjA4PeKwaQZ0a0mDgy7jti9GSMMd7eW4sEEI484DDz4xxQY62tCQ3
RVKNGzAD8c2jEzARMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIg
RBDSmHVTRnCQqZGCBEX7PWENMFfM4NEmZXwQ4dUsadICIQCs2iusSDpLVuV3W84b
p9YauE2w2eThyBjIDkgRC4A+jg==
-----END CERTIFICATE-----
"""
READ = 'path "secret/{kind}/{path}" {{ capabilities = ["read"] }}\n'


@dataclass
class Scene:
    """One case at work: its tenant, a VaultServer and a role of its own, and the object `db` that is to be broken."""

    tenant: Tenant
    gate: Gate | None = None
    cleanups: list[Callable[[], None]] = field(default_factory=list)

    @property
    def ns(self) -> str:
        return self.tenant.namespace

    @property
    def own(self) -> str:
        """Name of the case's own VaultServer, role and policy."""
        return f"own-{self.ns}"

    def bao(self, *arguments: str, given: str | None = None) -> None:
        self.tenant.cluster.bao(*arguments, given=given)

    def put(self, entry: str = "db", **values: Any) -> None:
        self.tenant.put(entry, **(values or {"password": "good"}))

    def kubectl(self, *arguments: str) -> None:
        self.tenant.cluster.kubectl("-n", self.ns, *arguments)

    def source(self, entry: str = "db", name: str = "main", **more: Any) -> dict[str, Any]:
        kv = {"path": f"{self.ns}/{entry}", **more.pop("kv", {})}
        return {"name": name, "kv": kv, **more}

    def want(self, *sources: dict[str, Any], **spec: Any) -> None:
        self.tenant.want("db", *(sources or (self.source(),)), **spec)

    def role(self, **settings: str) -> dict[str, str]:
        """Make the case's own role, and say how the object asks for it."""
        given = {"audience": "elile", "token_policies": "elile", "bound_service_account_names": "*", **settings}
        given.setdefault("bound_service_account_namespaces", self.ns)
        self.bao("write", f"auth/kubernetes/role/{self.own}", *(f"{k}={v}" for k, v in given.items()))
        return {"role": self.own}

    def policy(self, text: str) -> None:
        self.bao("policy", "write", self.own, "-", given=text)

    def server(self, **changes: Any) -> dict[str, str]:
        """Make or change the case's own VaultServer, and say how the object asks for it."""
        body = server_manifest(self.tenant.cluster, self.own)
        body["spec"] = {**body["spec"], **changes}  # type: ignore[dict-item] # a manifest is what it is
        self.tenant.cluster.apply(body)
        self.cleanups.append(
            lambda: self.tenant.cluster.kubectl("delete", "vaultserver", self.own, "--ignore-not-found") and None
        )
        return {"server": self.own}

    def gated(self, mode: Mode) -> None:
        assert self.gate is not None
        self.gate.mode = mode

    def through_gate(self) -> dict[str, str]:
        assert self.gate is not None
        return self.server(address=self.gate.address, limits={"timeout": "1s"})


@dataclass(frozen=True)
class Case:
    """`broken` makes it so after `db` was delivered, `cured` removes the cause without touching the object."""

    name: str
    cause: str
    reason: Reason
    broken: Callable[[Scene], object]
    cured: Callable[[Scene], object]
    says: tuple[str, ...]
    before: Callable[[Scene], object] = lambda _scene: None
    remedy: str = ""


def forbidden(s: Scene) -> None:
    s.policy('path "secret/data/nothing" { capabilities = ["read"] }')
    s.want(vault=s.role(token_policies=s.own))


def allow(s: Scene) -> None:
    s.policy("".join(READ.format(kind=kind, path=f"{s.ns}/*") for kind in ("data", "metadata")))


def no_engine(s: Scene) -> None:
    s.policy(f'path "kv-{s.ns}/*" {{ capabilities = ["read"] }}')
    s.want(s.source(kv={"mount": f"kv-{s.ns}"}), vault=s.role(token_policies=s.own))


def make_engine(s: Scene) -> None:
    s.bao("secrets", "enable", f"-path=kv-{s.ns}", "-version=2", "kv")
    s.bao("kv", "put", f"-mount=kv-{s.ns}", f"{s.ns}/db", "password=good")
    s.cleanups.append(lambda: s.bao("secrets", "disable", f"kv-{s.ns}"))


def large(s: Scene) -> None:
    for i in range(3):
        s.put(f"part-{i}", **{f"v{i}": "x" * 400_000})
    s.want(*(s.source(f"part-{i}", name=f"s{i}") for i in range(3)))


def immutable(s: Scene) -> None:
    s.kubectl("patch", "secret", "db", "--type=merge", "-p", '{"immutable": true}')
    s.put(password="next")


OBJECTS = (
    Case(
        "unknown server",
        "`spec.vault.server` names a VaultServer that does not exist",
        Reason.SERVER_NOT_FOUND,
        lambda s: s.want(vault={"server": s.own}),
        lambda s: s.server(),
        ("spec.vault.server", "does not exist", "create it or correct the name"),
    ),
    Case(
        "namespace not allowed",
        "the VaultServer does not list or select the namespace",
        Reason.NAMESPACE_NOT_ALLOWED,
        lambda s: s.want(vault=s.server(allowedNamespaces={"names": ["other"]})),
        lambda s: s.server(allowedNamespaces={"names": ["other", s.ns]}),
        ("does not allow namespace", "spec.allowedNamespaces"),
    ),
    Case(
        "unknown role",
        "the role does not exist at the auth method",
        Reason.ROLE_NOT_FOUND,
        lambda s: s.want(vault={"role": s.own}),
        lambda s: s.role(),
        ("has no role", "auth/kubernetes", "spec.vault.role"),
    ),
    Case(
        "role without the audience",
        "the role expects another audience than the VaultServer's",
        Reason.LOGIN_DENIED,
        lambda s: s.want(vault=s.role(audience="other")),
        lambda s: s.role(),
        ("refuses the login", "audience", "token reviewer"),
    ),
    Case(
        "role for others",
        "the role is bound to another namespace",
        Reason.LOGIN_DENIED,
        lambda s: s.want(vault=s.role(bound_service_account_namespaces="other")),
        lambda s: s.role(),
        ("refuses the login", "not bound to this ServiceAccount and namespace"),
    ),
    Case(
        "no ServiceAccount",
        "the ServiceAccount does not exist in the namespace",
        Reason.SERVICE_ACCOUNT_NOT_FOUND,
        lambda s: s.want(vault={"serviceAccountName": "absent"}),
        lambda s: s.kubectl("create", "serviceaccount", "absent"),
        ("/absent does not exist", "spec.vault.serviceAccountName"),
    ),
    Case(
        "no permission",
        "no policy of the role allows the path",
        Reason.PERMISSION_DENIED,
        forbidden,
        allow,
        ("does not let ServiceAccount", "with role", "secret/", "the role's policy", "spec.sources[main].kv.path"),
    ),
    Case(
        "no engine",
        "no secrets engine is mounted there",
        Reason.MOUNT_NOT_FOUND,
        no_engine,
        make_engine,
        ("no secrets engine at", "spec.sources[main].kv.mount"),
    ),
    Case(
        "no auth method",
        "no auth method is mounted where the VaultServer says",
        Reason.LOGIN_DENIED,
        lambda s: s.want(vault=s.server(auth={"kubernetes": {"mount": "absent"}})),
        lambda s: s.server(auth={"kubernetes": {"mount": "kubernetes"}}),
        ("auth/absent/login", "no auth method at that mount"),
    ),
    Case(
        "no namespace",
        "`spec.vault.namespace`, or a namespace of the VaultServer, does not exist in the vault",
        Reason.MOUNT_NOT_FOUND,
        lambda s: s.want(vault={"namespace": s.ns}),
        lambda s: s.want(),
        ("has no namespace", "create it there", "spec.vault.namespace"),
    ),
    Case(
        "no path",
        "nothing was written at the path",
        Reason.PATH_NOT_FOUND,
        lambda s: s.want(s.source("absent")),
        lambda s: s.put("absent"),
        ("has nothing at", "spec.sources[main].kv.path", "optional: true"),
    ),
    Case(
        "no version",
        "the pinned version does not exist",
        Reason.VERSION_NOT_FOUND,
        lambda s: s.want(s.source(kv={"version": 2})),
        lambda s: s.put(password="second"),
        ("has no version 2 of", "spec.sources[main].kv.version", "or remove it"),
    ),
    Case(
        "deleted version",
        "the version was deleted",
        Reason.VERSION_DELETED,
        lambda s: s.bao("kv", "delete", "-mount=secret", f"{s.ns}/db"),
        lambda s: s.bao("kv", "undelete", "-mount=secret", "-versions=1", f"{s.ns}/db"),
        ("version 1", "deleted", "undelete it or write a new one"),
    ),
    Case(
        "no key",
        "the entry does not have a key that the spec names",
        Reason.KEY_NOT_FOUND,
        lambda s: s.want(s.source(keys=[{"from": "pass"}])),
        lambda s: s.put(**{"pass": "good"}),
        ("spec.sources[main].keys names 'pass'", "the entry has: 'password'"),
    ),
    Case(
        "same key twice",
        "two sources give the same key",
        Reason.KEY_CONFLICT,
        lambda s: s.want(s.source(), s.source("more", name="more")),
        lambda s: s.put("more", user="good"),
        ("spec.sources[main] and spec.sources[more] both give key 'password'", "override: true"),
        before=lambda s: s.put("more"),
    ),
    Case(
        "template",
        "a template of `spec.files` is none",
        Reason.TEMPLATE_INVALID,
        lambda s: s.want(files=[{"key": "dsn", "template": "db:${password"}]),
        lambda s: s.want(files=[{"key": "dsn", "template": "db:${password}"}]),
        ("spec.files[dsn]: line 1, column 4: the placeholder is not closed in its line", "write '}' after the key"),
    ),
    Case(
        "null",
        "a value is null",
        Reason.SHAPE_INVALID,
        lambda s: s.put(password=None),
        lambda s: s.put(password="good again"),
        ("spec.sources[main]: the value of 'password' is null", "write a string"),
    ),
    Case(
        "not base64",
        "a value that is to be decoded is not base64",
        Reason.SHAPE_INVALID,
        lambda s: s.want(s.source(keys=[{"from": "password", "decode": "Base64"}])),
        lambda s: s.put(password="Z29vZA=="),
        ("the value of 'password' is not base64", "decode"),
        before=lambda s: s.put(password="$"),
    ),
    Case(
        "too large",
        "all values together are larger than a Secret may be",
        Reason.TOO_LARGE,
        large,
        lambda s: s.put("part-2", v2="small"),
        ("1200000 bytes", "at most 1048576", "split the ElileSecret"),
    ),
    Case(
        "immutable Secret",
        "somebody made the Secret immutable",
        Reason.SECRET_CONFLICT,
        immutable,
        lambda s: s.kubectl("delete", "secret", "db"),
        ("refuses to update Secret", "immutable", "delete that Secret"),
    ),
)

# No answer is no verdict: what was delivered stays Ready, and Synced turns False after three missed intervals.
AWAY = (
    Case(
        "unreachable",
        "nothing listens at the address, or the network is cut",
        Reason.VAULT_UNREACHABLE,
        lambda s: s.gated(Mode.CLOSED),
        lambda s: s.gated(Mode.OPEN),
        ("does not answer", "spec.address"),
    ),
    Case(
        "sealed",
        "the server is sealed",
        Reason.VAULT_SEALED,
        lambda s: s.tenant.cluster.lab.seal() if s.tenant.cluster.lab else None,
        lambda s: s.tenant.cluster.lab.unseal() if s.tenant.cluster.lab else None,
        ("is sealed", "unseal it"),
    ),
    Case(
        "throttling",
        "the server, or something before it, limits requests",
        Reason.VAULT_THROTTLED,
        lambda s: s.gated(Mode.THROTTLING),
        lambda s: s.gated(Mode.OPEN),
        ("throttles", "spec.limits.requestsPerSecond"),
    ),
    Case(
        "garbage",
        "something else answers at the address",
        Reason.MALFORMED_RESPONSE,
        lambda s: s.gated(Mode.GARBAGE),
        lambda s: s.gated(Mode.OPEN),
        ("does not answer as Vault or OpenBao does", "spec.address"),
    ),
    Case(
        "10 MB",
        "an answer is larger than any entry can be",
        Reason.MALFORMED_RESPONSE,
        lambda s: s.gated(Mode.HUGE),
        lambda s: s.gated(Mode.OPEN),
        ("larger than 4194304 bytes",),
    ),
    Case(
        "slow",
        "the answer comes byte by byte",
        Reason.VAULT_UNREACHABLE,
        lambda s: s.gated(Mode.SLOW),
        lambda s: s.gated(Mode.OPEN),
        ("no answer in time",),
    ),
    Case(
        "unknown CA",
        "the certificate is signed by nobody the VaultServer trusts",
        Reason.TLS_UNTRUSTED,
        lambda s: s.server(address=s.gate.address if s.gate else "", tls={"caBundle": OTHER_CA}),
        lambda s: s.through_gate(),
        ("signed by an unknown authority", "spec.tls.caBundle"),
    ),
    Case(
        "wrong name",
        "the certificate is for another name",
        Reason.TLS_UNTRUSTED,
        lambda s: s.server(
            address=s.gate.address if s.gate else "",
            tls={"caBundle": s.tenant.cluster.bao_ca, "serverName": "vault.example"},
        ),
        lambda s: s.through_gate(),
        ("for another host name", "spec.tls.serverName"),
    ),
)

CASES = OBJECTS + AWAY
