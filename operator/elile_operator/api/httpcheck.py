"""A hook that sends the value to an HTTP API, in a header and nowhere else."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from elile_operator.api.endpoints import MAX_CA_BUNDLE, pem_bundle
from elile_operator.api.model import SpecModel
from elile_operator.api.rules import Checked, ListType, Rule, free_of, matches
from elile_operator.api.syntax import URL_HOST, URL_PORT, json_pointer

MAX_URL = 1024
MAX_HEADERS = 16
MAX_HEADER = 1024
MAX_STATUSES = 16
MAX_EQUALS = 16

_HEADER_NAME = "[-!#$%&'*+.^_`|~0-9A-Za-z]+"  # of RFC 9110
_TEXT = "[\x20-\x7e]*"

# What a request has by itself, and what carries a value.
_OF_REQUESTS = "connection|content-length|host|te|transfer-encoding|upgrade"
_OF_VALUES = "authorization|proxy-authorization|cookie"
_NEVER_PASS = (401, 403, 408, 425, 429)


class HttpPreset(StrEnum):
    """APIs whose cheapest request is known."""

    OPENAI = "OpenAI"
    ANTHROPIC = "Anthropic"


class HttpAuth(StrEnum):
    """How the value is sent."""

    BEARER = "Bearer"
    BASIC = "Basic"
    HEADER = "Header"


class HttpMethod(StrEnum):
    """How the API is asked; none that carries a body."""

    GET = "GET"
    HEAD = "HEAD"


class HttpHeader(SpecModel):
    """A header that is sent along."""

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=128),
        Checked(
            matches(
                _HEADER_NAME, "spec.verify[].http.headers[].name must be the name of a header, for example X-Tenant"
            ),
            free_of(
                f"(?i)^({_OF_REQUESTS}|{_OF_VALUES})$",
                "spec.verify[].http.headers[].name must not be Host, Authorization or another one that the request has "
                "by itself; spec.verify[].http.auth says how the value is sent",
            ),
        ),
    ] = Field(description="Name of the header.")
    value: Annotated[
        str,
        StringConstraints(max_length=MAX_HEADER),
        Checked(
            matches(
                _TEXT,
                "spec.verify[].http.headers[].value must be printable ASCII on one line; remove line breaks",
            )
        ),
    ] = Field(description="Its text, which is no secret.")


class HttpEquals(SpecModel):
    """What the answer must hold."""

    pointer: Annotated[
        str,
        StringConstraints(min_length=1, max_length=256),
        Checked(json_pointer("spec.verify[].http.equals[].pointer")),
    ] = Field(description="JSON pointer into the answer, such as /organization/id.")
    value: Annotated[str, StringConstraints(max_length=1024)] = Field(description="The text that must stand there.")


class HttpTls(SpecModel):
    """How the server proves who it is."""

    ca_bundle: (
        Annotated[str, StringConstraints(max_length=MAX_CA_BUNDLE), pem_bundle("spec.verify[].http.tls.caBundle")]
        | None
    ) = Field(None, description="Certificates, in PEM, that the server's is checked against. Absent: the system's.")
    allow_plain_http: bool = Field(
        False,
        alias="allowPlainHTTP",
        description="Whether the URL may use http, which anybody on the way can read. Absent: false.",
    )


_PASSES = Rule(
    f"self >= 200 && self < 500 && !(self in [{', '.join(map(str, _NEVER_PASS))}])",
    "spec.verify[].http.statuses[] must be from 200 to 499 and none of "
    f"{', '.join(map(str, _NEVER_PASS))}, which say that the value is refused or the server busy",
    lambda v: 200 <= v < 500 and v not in _NEVER_PASS,
)


class HttpCheck(SpecModel):
    """A request that takes the value, and whose answer tells that it is the right one."""

    preset: HttpPreset | None = Field(
        None, description="An API whose URL and headers are known. Absent: url says where to ask."
    )
    url: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAX_URL),
            Checked(
                matches(
                    f'https?://{URL_HOST}(:{URL_PORT})?(/[!-"$-~]*)?',
                    "spec.verify[].http.url must be https://host/path, without user, password or fragment",
                )
            ),
        ]
        | None
    ) = Field(None, description="Where to ask, for example https://api.example.com/v1/me. Absent: the preset's.")
    method: HttpMethod = Field(HttpMethod.GET, description="GET or HEAD. Absent: GET.")
    auth: HttpAuth | None = Field(
        None,
        description="Bearer: as a bearer token. Basic: as the password beside the key of spec.fields.username. Header: "
        "alone in a header. Absent: the preset's, else Bearer.",
    )
    header: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=128),
            Checked(
                matches(_HEADER_NAME, "spec.verify[].http.header must be the name of a header, for example X-Api-Key"),
                free_of(
                    f"(?i)^({_OF_REQUESTS})$",
                    "spec.verify[].http.header must not be Host or another one that the request has by itself",
                ),
            ),
        ]
        | None
    ) = Field(None, description="The header of auth Header. Absent: the others use Authorization.")
    headers: Annotated[tuple[HttpHeader, ...], Field(max_length=MAX_HEADERS), ListType("map", ("name",))] = Field(
        (), description="Further headers. Absent: the preset's."
    )
    statuses: Annotated[
        tuple[Annotated[int, Checked(_PASSES)], ...],
        Field(min_length=1, max_length=MAX_STATUSES),
        ListType("set"),
    ] = Field((200,), description="Statuses that pass; 401 and 403 never do. Absent: 200.")
    equals: Annotated[tuple[HttpEquals, ...], Field(max_length=MAX_EQUALS), ListType("map", ("pointer",))] = Field(
        (), description="What the answer must hold, to tell whose value it is. Absent: nothing is looked at."
    )
    tls: HttpTls = Field(default_factory=HttpTls, description="How the server proves who it is.")


def _header_names(check: HttpCheck) -> list[str]:
    return [name.lower() for name in (*(h.name for h in check.headers), *([check.header] if check.header else []))]


HTTP_RULES = (
    Rule(
        "has(self.url) || has(self.preset)",
        "spec.verify[].http must hold url or preset; set one of them",
        lambda v: v.url is not None or v.preset is not None,
    ),
    Rule(
        "!has(self.url) || self.url.startsWith('https://') || "
        "(has(self.tls) && has(self.tls.allowPlainHTTP) && self.tls.allowPlainHTTP)",
        "spec.verify[].http.url uses http, and sends the value; use https or set "
        "spec.verify[].http.tls.allowPlainHTTP: true",
        lambda v: v.url is None or v.url.startswith("https://") or v.tls.allow_plain_http,
    ),
    Rule(
        "(has(self.auth) && self.auth == 'Header') == has(self.header)",
        "spec.verify[].http.header goes with auth Header, and with no other; set both or none",
        lambda v: (v.auth is HttpAuth.HEADER) == (v.header is not None),
    ),
    Rule(
        # Header names are the same in upper and lower case, which the list's keys do not know.
        "[(has(self.headers) ? self.headers.map(h, h.name.lowerAscii()) : []) + "
        "(has(self.header) ? [self.header.lowerAscii()] : [])].all(names, names.all(n, names.exists_one(m, m == n)))",
        "spec.verify[].http.headers must name each header once, and none that spec.verify[].http.header names",
        lambda v: len(set(_header_names(v))) == len(_header_names(v)),
    ),
    Rule(
        "!has(self.equals) || self.equals.size() == 0 || !has(self.method) || self.method == 'GET'",
        "spec.verify[].http.equals needs method GET: an answer to HEAD holds nothing",
        lambda v: not v.equals or v.method is HttpMethod.GET,
    ),
)
