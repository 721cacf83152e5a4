"""Names that objects of the cluster carry for Elile, and the type of their conditions."""

import re
from enum import StrEnum

from pydantic import Field

from elile_operator.api.model import StatusModel, Time
from elile_operator.api.rules import Rule

GROUP = "elile.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "elile"

# Names become parts of labels and annotations, which hold 63 characters.
MAX_NAME = 53
NAME_FITS = Rule(
    f"self.metadata.name.size() <= {MAX_NAME}",
    f"metadata.name must be at most {MAX_NAME} characters, since it becomes part of labels and annotations; shorten it",
    lambda v: len(v.metadata.name) <= MAX_NAME,
)

# On the Secrets that Elile writes.
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "elile"
SECRET_LABEL = f"{GROUP}/secret"
FINGERPRINT_ANNOTATION = f"{GROUP}/fingerprint"
REVISION_ANNOTATION = f"{GROUP}/revision"
EPOCH_ANNOTATION = f"{GROUP}/epoch"

# On an object that something has to be undone for before it may go.
FINALIZER = f"{GROUP}/finalizer"
# The file that tells name, revision and sources beside the values; the client library reads it.
METADATA_FILE = ".elile.json"

# A Secret's consent to be taken over, and an ElileSecret's wish to be refreshed now.
ADOPT_ANNOTATION = f"{GROUP}/adopt"
REFRESH_ANNOTATION = f"{GROUP}/refresh"

# On Rotations that a schedule made: what they are for, and the label of the occurrence.
TRIGGER_ANNOTATION = f"{GROUP}/trigger"
OCCURRENCE_ANNOTATION = f"{GROUP}/occurrence"
SCHEDULE_LABEL = f"{GROUP}/schedule"


def delivered_annotation(name: str) -> str:
    """The annotation on pods that makes kubelet look at the Secret of this ElileSecret."""
    return f"{GROUP}/delivered.{name}"


def merged_annotation(name: str) -> str:
    """The annotation on a shared Secret that marks what an ElileSecret has merged: `<revision> <fingerprint>`."""
    return f"{GROUP}/merged.{name}"


RESTART_PREFIX = f"restart.{GROUP}/"


def restart_annotation(name: str) -> str:
    """The annotation on pod templates that restarts a workload when the content of this ElileSecret changes."""
    return f"{RESTART_PREFIX}{name}"


class FieldManager(StrEnum):
    """Who applies. One per writer: two applies by one manager remove each other's fields."""

    SECRETS = "elile"
    RESTARTS = "elile-restart"
    VAULTSERVER_STATUS = "elile-server"
    ELILESECRET_STATUS = "elile-secret"
    ROTATIONSCHEDULE_STATUS = "elile-schedule"
    ROTATION_STATUS = "elile-rotation"


MERGERS = f"{FieldManager.SECRETS}."


def merge_manager(name: str) -> str:
    """The field manager of an ElileSecret that merges: one for each, or two in one Secret would take turns."""
    return f"{MERGERS}{name}"


# Labels and annotations with a meaning for Kubernetes or for Elile. A Secret with the right ones would be filled with
# a token by the token controller. `app.kubernetes.io/` describes applications and is free but for one name.
RESERVED = r"(?i)^([^/]*\.)?(kubernetes|k8s|elile)\.io/"
UNRESERVED = r"(?i)^app\.kubernetes\.io/"


def is_reserved(key: str) -> bool:
    """Whether a label or annotation of this name may not be asked for in a spec."""
    if key.lower() == MANAGED_BY_LABEL:
        return True
    return re.search(RESERVED, key) is not None and re.search(UNRESERVED, key) is None


class ConditionStatus(StrEnum):
    """The three values of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(StatusModel):
    """One aspect of the object's state."""

    type: str = Field(description="Name of the condition.", max_length=316)
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: str = Field(description="Why, in one word of a closed list.", max_length=1024)
    message: str = Field(description="Why, for people: the object, the field and the remedy.", max_length=32768)
    last_transition_time: Time = Field(description="When the status changed last.")
    observed_generation: int | None = Field(None, description="The generation of the spec that this is about.")
