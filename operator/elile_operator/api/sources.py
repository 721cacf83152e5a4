"""Where the values of an ElileSecret come from: what is read, what is issued, and what is made."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from elile_operator.api.durations import LONGEST
from elile_operator.api.generate import GeneratedValue, one_kind
from elile_operator.api.model import SpecModel
from elile_operator.api.rules import Checked, DurationBetween, ListType, Rule, Subject, exactly_one, free_of, matches
from elile_operator.api.syntax import (
    MAX_KEY,
    MAX_LABEL,
    MAX_MOUNT,
    MAX_PATH,
    MAX_ROLE,
    MAX_SECRET_KEY,
    dns_label,
    is_secret_key,
    key_or_pointer,
    role_name,
    secret_key,
    vault_path,
)

MAX_KEYS = 64  # of one source; a source that delivers more is better delivered whole
MAX_GENERATED = 16
MAX_PARAMETERS = 16
MAX_NAMES = 32  # of a certificate, of one kind
MAX_VALUE = 253
MAX_URI = 1024


class Shape(StrEnum):
    """What an entry has to look like: the models of the client library."""

    DATABASE = "Database"
    AI_PROVIDER = "AIProvider"
    PROVIDER_API_KEY = "ProviderApiKey"
    ENCRYPTION_KEYS = "EncryptionKeys"


class Decode(StrEnum):
    """How a value is decoded before it is delivered."""

    BASE64 = "Base64"


class KvEngine(StrEnum):
    """Versions of the key-value engine."""

    V2 = "v2"
    V1 = "v1"


class Method(StrEnum):
    """How a lease is asked for."""

    GET = "GET"
    POST = "POST"


class KeyFormat(StrEnum):
    """How a private key is written. PKCS1 stands for the older form of each kind of key, SEC 1 for elliptic curves."""

    PKCS1 = "PKCS1"
    PKCS8 = "PKCS8"


class KvSource(SpecModel):
    """An entry of a key-value engine."""

    mount: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAX_MOUNT),
            Checked(*vault_path("spec.sources[].kv.mount")),
        ]
        | None
    ) = Field(None, description="Mount of the engine. Absent: the server's default.")
    path: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_PATH),
        Checked(*vault_path("spec.sources[].kv.path")),
    ] = Field(description="Path of the entry below the mount, without data/ of Vault's HTTP API.")
    version: (
        Annotated[
            int,
            Checked(
                Rule(
                    "self >= 1",
                    "spec.sources[].kv.version must be 1 or more; remove it for the latest version",
                    lambda v: v >= 1,
                )
            ),
        ]
        | None
    ) = Field(None, description="Version to stay at. Absent: the latest, followed.")
    engine: KvEngine = Field(
        KvEngine.V2, description="Version of the engine; v1 has no versions of entries. Absent: v2."
    )


_V1_HAS_NO_VERSIONS = Rule(
    "!has(self.version) || !has(self.engine) || self.engine == 'v2'",
    "spec.sources[].kv.version needs engine v2: version 1 of the engine keeps no versions; remove it",
    lambda v: v.version is None or v.engine is KvEngine.V2,
)

# A share of the time between two and nine tenths: later leaves no time to mend a failure, sooner is a load.
_RENEW_AT = "([2-8][0-9]|90)%"
DEFAULT_RENEW_AT = "67%"


def _renew_at(kind: str) -> Rule:
    return matches(_RENEW_AT, f"spec.sources[].{kind}.renewAt must be a share from 20% to 90%, for example 67%")


def share(text: str) -> float:
    """Return a share as a number between 0 and 1."""
    return int(text.removesuffix("%")) / 100


def _engine_path(kind: str) -> tuple[Rule, ...]:
    field = f"spec.sources[].{kind}.path"
    return (
        *vault_path(field),
        free_of(
            "^(sys|auth|identity|cubbyhole)(/|$)",
            f"{field} must be of a secrets engine; what is under sys, auth, identity and cubbyhole is none",
        ),
    )


class LeaseSource(SpecModel):
    """Credentials that a secrets engine makes for this object, and that end with their lease."""

    path: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_PATH),
        Checked(*_engine_path("lease")),
    ] = Field(description="Path that makes them, with its mount, for example database/creds/shop.")
    method: Method = Field(Method.GET, description="How they are asked for. Absent: GET.")
    parameters: Annotated[
        dict[str, Annotated[str, StringConstraints(max_length=MAX_VALUE)]], Field(max_length=MAX_PARAMETERS)
    ] = Field(default_factory=dict, description="What is sent along, as texts. Absent: nothing.")
    renew_at: Annotated[str, StringConstraints(max_length=3), Checked(_renew_at("lease"))] = Field(
        DEFAULT_RENEW_AT, description="Share of its time after which the lease is renewed. Absent: 67%."
    )


class ReadSource(SpecModel):
    """What a secrets engine answers at a path, such as static credentials; read anew when its time to live is over."""

    path: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_PATH),
        Checked(*_engine_path("read")),
    ] = Field(description="Path with its mount, for example database/static-creds/shop.")


def _each(field: str, pattern: str, example: str) -> Checked:
    return Checked(matches(pattern, f"spec.sources[].pki.{field} must hold names such as {example}"))


class PkiSource(SpecModel):
    """A certificate that a PKI engine issues for this object: tls.crt with its chain, tls.key and ca.crt."""

    mount: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_MOUNT),
        Checked(*vault_path("spec.sources[].pki.mount")),
    ] = Field("pki", description="Mount of the engine. Absent: pki.")
    role: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_ROLE), Checked(role_name("spec.sources[].pki.role"))
    ] = Field(description="Role of the engine that says what may be issued.")
    issuer: (
        Annotated[
            str, StringConstraints(min_length=1, max_length=MAX_ROLE), Checked(role_name("spec.sources[].pki.issuer"))
        ]
        | None
    ) = Field(None, description="Name of the issuer. Absent: the role's.")
    common_name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=64),
        Checked(
            matches(
                "[^\x00-\x1f\x7f,]+", "spec.sources[].pki.commonName must be one name, for example shop.example.com"
            )
        ),
    ] = Field(description="Common name of the subject.")
    alt_names: Annotated[
        tuple[
            Annotated[
                str,
                StringConstraints(min_length=1, max_length=MAX_VALUE),
                _each("altNames", "[^\x00-\x20\x7f,]+", "www.example.com or a@example.com"),
            ],
            ...,
        ],
        Field(max_length=MAX_NAMES),
        ListType("set"),
    ] = Field((), description="Further names of hosts, and addresses of mail. Absent: none.")
    ip_sans: Annotated[
        tuple[
            Annotated[
                str,
                StringConstraints(min_length=1, max_length=MAX_VALUE),
                _each("ipSans", "[0-9a-fA-F:.]+", "192.0.2.7"),
            ],
            ...,
        ],
        Field(max_length=MAX_NAMES),
        ListType("set"),
    ] = Field((), description="IP addresses. Absent: none.")
    uri_sans: Annotated[
        tuple[
            Annotated[
                str,
                StringConstraints(min_length=1, max_length=MAX_URI),
                _each("uriSans", "[^\x00-\x20\x7f,]+", "spiffe://example.com/shop"),
            ],
            ...,
        ],
        Field(max_length=MAX_NAMES),
        ListType("set"),
    ] = Field((), description="URIs. Absent: none.")
    other_sans: Annotated[
        tuple[
            Annotated[
                str,
                StringConstraints(min_length=1, max_length=MAX_VALUE),
                _each("otherSans", "[0-9.]+;[a-zA-Z0-9-]+:[^\x00-\x1f\x7f,]+", "1.3.6.1.4.1.311.20.2.3;UTF8:shop"),
            ],
            ...,
        ],
        Field(max_length=MAX_NAMES),
        ListType("set"),
    ] = Field((), description="Other names, each as object identifier, ;, type, : and value. Absent: none.")
    ttl: Annotated[timedelta, DurationBetween("spec.sources[].pki.ttl", timedelta(minutes=1), LONGEST)] | None = Field(
        None, description="How long it is valid. Absent: as the role says."
    )
    renew_at: Annotated[str, StringConstraints(max_length=3), Checked(_renew_at("pki"))] = Field(
        DEFAULT_RENEW_AT, description="Share of its time after which another one is issued. Absent: 67%."
    )
    private_key_format: KeyFormat = Field(
        KeyFormat.PKCS1, description="How the key is written; PKCS1: the older form of its kind. Absent: PKCS1."
    )


class GeneratedEntry(SpecModel):
    """Where in the key-value engine the values are kept."""

    mount: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAX_MOUNT),
            Checked(*vault_path("spec.sources[].generate.kv.mount")),
        ]
        | None
    ) = Field(None, description="Mount of the engine, of version 2. Absent: the server's default.")
    path: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_PATH),
        Checked(*vault_path("spec.sources[].generate.kv.path")),
    ] = Field(description="Path of the entry below the mount.")


class GenerateSource(SpecModel):
    """Values that are made once, when nothing is stored there yet, and read from then on."""

    kv: GeneratedEntry = Field(description="Where they are kept.")
    keys: Annotated[
        dict[str, Annotated[GeneratedValue, one_kind("spec.sources[].generate.keys")]],
        Field(min_length=1, max_length=MAX_GENERATED),
        Checked(
            Rule(
                "self.all(k, k.size() <= 253 && k.matches('^[-._a-zA-Z0-9]+$'))",
                "spec.sources[].generate.keys must be named by letters, digits, '-', '_' and '.'",
                lambda v: all(is_secret_key(k) for k in v),
            )
        ),
    ] = Field(description="What is made, by the key that holds it.")


class KeyMapping(SpecModel):
    """One key of the entry, and the key of the Secret it becomes."""

    from_: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_KEY),
        Checked(key_or_pointer("spec.sources[].keys[].from")),
    ] = Field(alias="from", description="Key of the entry, or a JSON pointer into it such as /tls/ca.")
    to: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAX_SECRET_KEY),
            Checked(*secret_key("spec.sources[].keys[].to")),
        ]
        | None
    ) = Field(None, description="Key of the Secret, to which the prefix is added. Absent: the same as from.")
    decode: Decode | None = Field(
        None, description="Base64: the value is base64 and its bytes are delivered. Absent: delivered as it is."
    )

    @property
    def target(self) -> str:
        """Key of the Secret, without the prefix."""
        return self.to if self.to is not None else self.from_


_HAS_TARGET = Rule(
    f"has(self.to) || ({' && '.join(rule.cel for rule in secret_key('', Subject('self.from', str)))})",
    "spec.sources[].keys[].from is no key of a Secret; say in spec.sources[].keys[].to which one it becomes",
    lambda v: v.to is not None or is_secret_key(v.from_),
)

_TARGETS_DIFFER = Rule(
    # Mapped first: the API server's estimate of the cost grows with the square of what stands in the inner loop.
    "[self.map(k, has(k.to) ? k.to : k.from)].all(targets, targets.all(t, targets.exists_one(u, u == t)))",
    "spec.sources[].keys holds two entries for one key of the Secret; give them different spec.sources[].keys[].to",
    lambda v: len({mapping.target for mapping in v}) == len(v),
)


class Source(SpecModel):
    """One place that values come from."""

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_LABEL),
        Checked(dns_label("spec.sources[].name")),
    ] = Field(description="Name of the source within this object.")
    kv: Annotated[KvSource, Checked(_V1_HAS_NO_VERSIONS)] | None = Field(
        None, description="An entry of a key-value engine."
    )
    lease: LeaseSource | None = Field(None, description="Credentials made for this object, which end with their lease.")
    read: ReadSource | None = Field(None, description="What a path answers, read anew when its time to live is over.")
    pki: PkiSource | None = Field(None, description="A certificate made for this object, with its key.")
    generate: GenerateSource | None = Field(
        None, description="Values that are made once, kept in a key-value engine, and read from then on."
    )
    shape: Shape | None = Field(
        None, description="What the entry has to look like; another one is not delivered. Absent: anything."
    )
    keys: (
        Annotated[
            tuple[Annotated[KeyMapping, Checked(_HAS_TARGET)], ...],
            Field(min_length=1, max_length=MAX_KEYS),
            ListType("map", ("from",)),
            Checked(_TARGETS_DIFFER),
        ]
        | None
    ) = Field(None, description="Which keys are delivered, and as what. Absent: all keys, as they are.")
    prefix: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAX_SECRET_KEY),
            Checked(
                matches(
                    "[-._a-zA-Z0-9]+",
                    "spec.sources[].prefix must be letters, digits, '-', '_' and '.', as a key of a Secret",
                )
            ),
        ]
        | None
    ) = Field(None, description="Put before every key of this source. Absent: nothing.")
    optional: bool = Field(False, description="Whether the path may be missing. Absent: false.")
    override: bool = Field(
        False,
        description="Whether keys of this source replace those of earlier ones; otherwise a key given twice is an "
        "error. Absent: false.",
    )


KINDS = ("kv", "lease", "read", "pki", "generate")

SHAPED = Rule(
    "!has(self.shape) || has(self.kv) || has(self.generate)",
    "spec.sources[].shape is for kv and generate; what engines make has a shape of its own",
    lambda v: v.shape is None or v.kv is not None or v.generate is not None,
)

NO_LONGER_OPTIONAL = Rule(
    "!has(self.optional) || !self.optional || has(self.kv) || has(self.read)",
    "spec.sources[].optional is for kv and read; the others make what is missing",
    lambda v: not v.optional or v.kv is not None or v.read is not None,
)

ONE_KIND = exactly_one("spec.sources[]", KINDS)
