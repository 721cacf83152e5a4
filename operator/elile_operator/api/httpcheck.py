"""A hook that sends the value to an HTTP API, in a header and nowhere else."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from elile_operator.api.endpoints import MAX_CA_BUNDLE, pem_bundle
from elile_operator.api.model import SpecModel
from elile_operator.api.rules import Checked, ListType, between, matches

MAX_URL = 1024
MAX_HEADERS = 16
MAX_HEADER = 1024
MAX_STATUSES = 16
MAX_EQUALS = 16

_HOST = r"([a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?|\[[0-9a-fA-F:.]+\])"
_HEADER_NAME = "[-!#$%&'*+.^_`|~0-9A-Za-z]+"  # of RFC 9110
_TEXT = "[\x20-\x7e]*"


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
            )
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
        Checked(
            matches(
                r"(/([^~/\x00-\x1f\x7f]|~0|~1)*)+",
                "spec.verify[].http.equals[].pointer must be a JSON pointer such as /organization/id",
            )
        ),
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
                    f'https?://{_HOST}(:[0-9]{{1,5}})?(/[!-"$-~]*)?',
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
                matches(_HEADER_NAME, "spec.verify[].http.header must be the name of a header, for example X-Api-Key")
            ),
        ]
        | None
    ) = Field(None, description="The header of auth Header. Absent: the others use Authorization.")
    headers: Annotated[tuple[HttpHeader, ...], Field(max_length=MAX_HEADERS), ListType("map", ("name",))] = Field(
        (), description="Further headers. Absent: the preset's."
    )
    statuses: Annotated[
        tuple[Annotated[int, Checked(between("spec.verify[].http.statuses[]", 200, 499))], ...],
        Field(min_length=1, max_length=MAX_STATUSES),
        ListType("set"),
    ] = Field((200,), description="Statuses that pass; 401 and 403 never do. Absent: 200.")
    equals: Annotated[tuple[HttpEquals, ...], Field(max_length=MAX_EQUALS), ListType("map", ("pointer",))] = Field(
        (), description="What the answer must hold, to tell whose value it is. Absent: nothing is looked at."
    )
    tls: HttpTls = Field(default_factory=HttpTls, description="How the server proves who it is.")
