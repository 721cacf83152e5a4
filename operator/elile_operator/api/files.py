"""Files that are made of keys: by a template, for a client of a database, or in a format."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from elile_operator.api.model import SpecModel
from elile_operator.api.rules import Checked, ListType, Rule, exactly_one, free_of
from elile_operator.api.syntax import MAX_KEY, MAX_LABEL, MAX_SECRET_KEY, dns_label, secret_key

MAX_FILES = 64
MAX_FILE_KEYS = 64
MAX_TEMPLATE = 16 * 1024  # characters


class Format(StrEnum):
    """How several keys become one file."""

    JSON = "json"
    YAML = "yaml"
    PROPERTIES = "properties"
    DOTENV = "dotenv"
    SHELL = "shell"


class Derivation(StrEnum):
    """What can be made of the entry of a database."""

    PGPASS = "pgpass"
    MY_CNF = "my.cnf"
    URL = "url"
    JDBC_URL = "jdbc-url"


class FileKey(SpecModel):
    """One key, and what it is called in the file."""

    from_: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_SECRET_KEY),
        Checked(*secret_key("spec.files[].keys[].from")),
    ] = Field(alias="from", description="Key that the sources give, with its prefix.")
    to: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAX_KEY),
            Checked(
                free_of(
                    "[\x00-\x1f\x7f]", "spec.files[].keys[].to must not hold control characters; write a plain name"
                )
            ),
        ]
        | None
    ) = Field(None, description="Name in the file. Absent: the same as from.")

    @property
    def target(self) -> str:
        """Name in the file."""
        return self.to if self.to is not None else self.from_


_TARGETS_DIFFER = Rule(
    "[self.map(k, has(k.to) ? k.to : k.from)].all(targets, targets.all(t, targets.exists_one(u, u == t)))",
    "spec.files[].keys holds two entries for one name in the file; give them different spec.files[].keys[].to",
    lambda v: len({key.target for key in v}) == len(v),
)

_SOURCE_WITH_DERIVE = Rule(
    "has(self.source) == has(self.derive)",
    "spec.files[].source belongs to spec.files[].derive: name the source there, and nowhere else",
    lambda v: (v.source is None) == (v.derive is None),
)

_KEYS_WITH_FORMAT = Rule(
    "!has(self.keys) || has(self.format)",
    "spec.files[].keys belongs to spec.files[].format; a template names its keys itself",
    lambda v: v.keys is None or v.format is not None,
)

CONTENTS = ("template", "derive", "format")
RULES = (exactly_one("spec.files[]", CONTENTS), _SOURCE_WITH_DERIVE, _KEYS_WITH_FORMAT)


class File(SpecModel):
    """One file, made of keys of the sources."""

    key: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_SECRET_KEY), Checked(*secret_key("spec.files[].key"))
    ] = Field(description="Key of the Secret, and name of the file.")
    template: Annotated[str, StringConstraints(max_length=MAX_TEMPLATE)] | None = Field(
        None, description="Text with ${key} or ${/json/pointer} and filters, such as ${password|url}; $${ is ${."
    )
    derive: Derivation | None = Field(None, description="What is made of the source's entry of a database.")
    source: (
        Annotated[str, StringConstraints(min_length=1, max_length=MAX_LABEL), Checked(dns_label("spec.files[].source"))]
        | None
    ) = Field(None, description="Name of the source that derive takes.")
    format: Format | None = Field(None, description="How the keys are written into one file.")
    keys: (
        Annotated[
            tuple[FileKey, ...],
            Field(min_length=1, max_length=MAX_FILE_KEYS),
            ListType("map", ("from",)),
            Checked(_TARGETS_DIFFER),
        ]
        | None
    ) = Field(None, description="Which keys format takes, and as what. Absent: all keys, as they are.")


# Of the spec, since a file names a source.
SOURCES_EXIST = Rule(
    "!has(self.files) || self.files.all(f, !has(f.source) || self.sources.exists(s, s.name == f.source))",
    "spec.files[].source must name one of spec.sources; correct it, or add the source",
    lambda v: {file.source for file in v.files or () if file.source} <= {source.name for source in v.sources},
)

KEPT_BESIDE_FILES = Rule(
    "!has(self.keepKeys) || !self.keepKeys || has(self.files)",
    "spec.keepKeys keeps keys beside spec.files; without files all keys are delivered anyway, so remove it",
    lambda v: not v.keep_keys or v.files is not None,
)
