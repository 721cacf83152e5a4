"""The container that a verify hook runs as a Job in the tenant's namespace."""

from typing import Annotated

from pydantic import Field, StringConstraints

from elile_operator.api.model import SpecModel
from elile_operator.api.rules import Checked, ListType, between, matches

MAX_WORDS = 32
MAX_WORD = 1024
MAX_ENV = 32
MAX_IMAGE = 512

# Where the container finds the keys of the entry, each as a file.
VALUE_FOLDER = "/run/elile/value"

_WORDS = Annotated[
    tuple[Annotated[str, StringConstraints(max_length=MAX_WORD)], ...],
    Field(max_length=MAX_WORDS),
    ListType("atomic"),
]


class JobEnv(SpecModel):
    """A variable with its text; values of Secrets have no way into one."""

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=253),
        Checked(
            matches(
                "[A-Za-z_][A-Za-z0-9_]*",
                "spec.verify[].job.env[].name must be letters, digits and '_', for example TARGET",
            )
        ),
    ] = Field(description="Name of the variable.")
    value: Annotated[str, StringConstraints(max_length=MAX_WORD)] = Field("", description="Its text. Absent: empty.")


class JobCheck(SpecModel):
    """A container of one's own: it passes by exit code 0.

    The pod is one of the restricted kind, has no token of Kubernetes, and is gone with its files after the hook.
    """

    image: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_IMAGE),
        Checked(
            matches(
                r"[a-z0-9]([-a-zA-Z0-9._:/]*[a-zA-Z0-9])?(@sha256:[0-9a-f]{64})?",
                "spec.verify[].job.image must be the name of an image, for example registry.example.com/check:1.2",
            )
        ),
    ] = Field(description="Image of the container; a digest keeps it the same.")
    command: _WORDS = Field((), description="Program and arguments. Absent: the image's.")
    args: _WORDS = Field((), description="Arguments. Absent: the image's.")
    env: Annotated[tuple[JobEnv, ...], Field(max_length=MAX_ENV), ListType("map", ("name",))] = Field(
        (), description="Variables, as plain texts; the value itself is in files under /run/elile/value. Absent: none."
    )
    run_as_user: Annotated[int, Checked(between("spec.verify[].job.runAsUser", 1, 2_147_483_647))] | None = Field(
        None, description="Number of the user that it runs as, never root's. Absent: the image's, which must not be 0."
    )
