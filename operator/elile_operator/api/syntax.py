"""The shapes of text in specs: names of Kubernetes, paths of Vault, keys of Secrets, each with its remedy."""

from elile_operator.api.meta import MANAGED_BY_LABEL, METADATA_FILE, RESERVED, UNRESERVED, is_reserved
from elile_operator.api.rules import SELF, Checked, Rule, Subject, cel_string, free_of, matches

MAX_PATH = 512
MAX_MOUNT = 256
MAX_KEY = 253  # in Vault, or a pointer to it; it may be a Secret's key too
MAX_ROLE = 128
MAX_SUBDOMAIN = 253
MAX_LABEL = 63
MAX_SECRET_KEY = 253
MAX_VAULT_NAMESPACE = 256

# What Vault and OpenBao call the namespace above all others; no other one may have the name.
ROOT_NAMESPACE = "root"

NAMESPACE_PLACEHOLDER = "${namespace}"

# A text of which only what comes of it has a shape: any name does in place of the placeholder.
_SAMPLE = "ns"
RESOLVED = Subject(
    f"self.replace({cel_string(NAMESPACE_PLACEHOLDER)}, '{_SAMPLE}')",
    lambda text: text.replace(NAMESPACE_PLACEHOLDER, _SAMPLE),
)

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = rf"({_SUBDOMAIN}/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
_POINTER = r"(/([^~/\x00-\x1f\x7f]|~0|~1)*)+"

# Of a URL.
URL_HOST = r"([a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?|\[[0-9a-fA-F:.]+\])"
URL_PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"

# What a URL or a policy would read as more than text, and what a person cannot see.
_UNSAFE_IN_PATHS = "[\x00-\x1f\x7f-\x9f%*?#\\\\\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"


def dns_label(field: str) -> Rule:
    """The name of an entry of a list, or of a namespace."""
    return matches(_LABEL, f"{field} must be lower-case letters, digits and '-', for example db-main")


def dns_subdomain(field: str, subject: Subject = SELF) -> Rule:
    """The name of an object of Kubernetes."""
    return matches(
        _SUBDOMAIN, f"{field} must be lower-case letters, digits, '-' and '.', as the name of an object", subject
    )


def role_name(field: str, subject: Subject = SELF) -> Rule:
    """The name of a role of an auth method."""
    return matches(
        "[a-zA-Z0-9._-]+", f"{field} must be letters, digits, '.', '_' and '-', as the name of a role", subject
    )


def vault_path(field: str, subject: Subject = SELF) -> tuple[Rule, ...]:
    """A mount of Vault or a path below one, without a segment that could lead elsewhere."""
    return (
        free_of("^/|/$|//", f"{field} must not begin or end with a slash nor hold two in a row; write a/b/c", subject),
        free_of(
            r"(^|/)\.\.?(/|$)", f"{field} must not hold the segments '.' or '..'; write the path they lead to", subject
        ),
        free_of(
            _UNSAFE_IN_PATHS,
            f"{field} must not hold % * ? # \\ or invisible characters; write the path as Vault lists it",
            subject,
        ),
        free_of(
            r"\$\{",
            f"{field} must not hold ${{ here; {NAMESPACE_PLACEHOLDER} is the only placeholder, and only in "
            "spec.defaults of a VaultServer",
            subject,
        ),
    )


def vault_namespace(field: str) -> tuple[Rule, ...]:
    """A namespace of Vault Enterprise or OpenBao, as a path; it is sent as a header."""
    return _namespace(
        field,
        rf"(^|/)({ROOT_NAMESPACE}|{_NO_NAMESPACES})(/|$)",
        f"must not hold {ROOT_NAMESPACE}, sys, audit, auth, cubbyhole or identity, which no namespace can be called; "
        "remove them",
    )


def login_namespace(field: str) -> tuple[Rule, ...]:
    """A namespace to log in to: it may be the root one in words, where absence means another one."""
    return _namespace(
        field,
        rf"(^|/)({_NO_NAMESPACES})(/|$)|^{ROOT_NAMESPACE}/|/{ROOT_NAMESPACE}(/|$)",
        f"must not hold sys, audit, auth, cubbyhole or identity, nor {ROOT_NAMESPACE} but alone: no namespace can be "
        "called so; remove them",
    )


_NO_NAMESPACES = "sys|audit|auth|cubbyhole|identity"


def _namespace(field: str, reserved: str, refused: str) -> tuple[Rule, ...]:
    return (
        matches("[!-~]+", f"{field} must be plain characters without spaces, for example team-a/web"),
        *vault_path(field),
        free_of(reserved, f"{field} {refused}"),
    )


def secret_key(field: str, subject: Subject = SELF) -> tuple[Rule, ...]:
    """A key of a Secret, which is the name of a file in a volume."""
    return (
        matches("[-._a-zA-Z0-9]+", f"{field} must be letters, digits, '-', '_' and '.', as a key of a Secret", subject),
        free_of(
            r"^\.\.|^\.$", f"{field} must not be '.' nor begin with '..'; a volume cannot hold such a file", subject
        ),
        Rule(
            f"{subject.cel} != {cel_string(METADATA_FILE)}",
            f"{field} must not be {METADATA_FILE}, which Elile writes itself (spec.delivery.metadataFile); "
            "choose another name",
            lambda v: subject.read(v) != METADATA_FILE,
        ),
    )


_SECRET_KEY = secret_key("")


def is_secret_key(text: str) -> bool:
    """Whether Kubernetes accepts the text as a key of a Secret."""
    return len(text) <= MAX_SECRET_KEY and all(rule.holds(text) for rule in _SECRET_KEY)


def json_pointer(field: str) -> Rule:
    """A JSON pointer (RFC 6901)."""
    return matches(_POINTER, f"{field} must be a JSON pointer such as /organization/id")


def plain_key(field: str) -> Rule:
    """A key of an entry in Vault, which is no pointer."""
    return matches(
        r"[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]*", f"{field} must be a key of the entry, for example password; no pointer"
    )


def key_or_pointer(field: str) -> Rule:
    """A key of an entry in Vault, or a JSON pointer (RFC 6901) when it begins with a slash."""
    return matches(
        rf"[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]*|{_POINTER}",
        f"{field} must be a key, or a JSON pointer such as /tls/ca in which ~ is written ~0 and / within a key ~1",
    )


def free_metadata(field: str) -> Checked:
    """Labels or annotations that a spec may ask for on a Secret."""
    name = matches(_QUALIFIED, "", Subject("k", str))
    return Checked(
        Rule(
            f"!self.exists(k, k == {cel_string(MANAGED_BY_LABEL)} || "
            f"(k.matches({cel_string(RESERVED)}) && !k.matches({cel_string(UNRESERVED)})))",
            f"{field} must not hold {MANAGED_BY_LABEL} nor names under kubernetes.io, k8s.io or elile.io, which mean "
            "something to the cluster or to Elile; remove them",
            lambda v: not any(is_reserved(key) for key in v),
        ),
        Rule(
            f"self.all(k, {name.cel})",
            f"{field} must hold names such as team or example.com/team",
            lambda v: all(name.holds(key) for key in v),
        ),
    )
