"""What FakeAWSServer keeps, and what each operation does to it; the rules are listed there."""

import base64
import binascii
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["RefusalError", "Store"]

CURRENT, PREVIOUS = "AWSCURRENT", "AWSPREVIOUS"
MAX_VALUE = 65536
MAX_LABELS = 20
NAME = re.compile(r"[A-Za-z0-9/_+=.@-]{1,512}")


class RefusalError(Exception):
    """What AWS would answer: the name of an error and a text."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code)
        self.code = code
        self.message = message


@dataclass(slots=True, repr=False)
class _Version:
    kind: str  # the field that the value is in
    value: str
    created: float
    labels: set[str] = field(default_factory=set)


@dataclass(slots=True, repr=False)
class _Secret:
    versions: dict[str, _Version] = field(default_factory=dict)
    created_with: str = ""
    deleted_at: float | None = None
    described: dict[str, Any] = field(default_factory=dict)

    def holder(self, label: str) -> str | None:
        return next((version for version, one in self.versions.items() if label in one.labels), None)

    def move(self, label: str, to: str | None) -> None:
        origin = self.holder(label)
        if origin == to:
            return
        if origin is not None:
            self.versions[origin].labels.discard(label)
        if to is not None:
            self.versions[to].labels.add(label)
        if label == CURRENT and origin is not None:
            self.move(PREVIOUS, origin)


class Store:
    """What is kept, and the operations on it; all of them with the server's lock held."""

    def __init__(self) -> None:
        self.secrets: dict[str, _Secret] = {}

    def answer(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        known: dict[str, Callable[[str, Mapping[str, Any]], dict[str, Any]]] = {
            "CreateSecret": self.create,
            "PutSecretValue": self.put,
            "GetSecretValue": self.get,
            "DescribeSecret": lambda name, _: self.describe(name),
            "UpdateSecretVersionStage": self.move,
            "DeleteSecret": self.delete,
            "RestoreSecret": lambda name, _: self.restore(name),
        }
        if operation not in known:
            raise RefusalError("UnknownOperationException", "not an operation of this server")
        name = str(asked.get("Name" if operation == "CreateSecret" else "SecretId", ""))
        return {"ARN": f"arn:aws:secretsmanager:us-east-1:000000000000:secret:{name}-AbCdEf", "Name": name} | known[
            operation
        ](name, asked)

    def create(self, name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        if not NAME.fullmatch(name):
            raise RefusalError(
                "ValidationException", "Invalid name. Must be a valid name containing alphanumeric characters"
            )
        found = self.secrets.get(name)
        if found is not None and found.deleted_at is not None:
            raise RefusalError("InvalidRequestException", "a secret with this name is already scheduled for deletion.")
        has_value = "SecretString" in asked or "SecretBinary" in asked
        if found is not None:
            if not has_value or found.created_with != asked.get("ClientRequestToken"):
                raise RefusalError("ResourceExistsException", f"The operation failed because the secret {name} exists.")
        else:
            found = _Secret(created_with=str(asked.get("ClientRequestToken", "")))
        if not has_value:
            self.secrets[name] = found
            return {}
        token = self.store(found, asked, [CURRENT])
        self.secrets[name] = found
        return {"VersionId": token}

    def put(self, name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        secret = self.usable(name)
        token = self.store(secret, asked, asked.get("VersionStages") or [CURRENT])
        return {"VersionId": token, "VersionStages": sorted(secret.versions[token].labels)}

    def store(self, secret: _Secret, asked: Mapping[str, Any], labels: list[str]) -> str:
        token = _id(asked, "ClientRequestToken")
        if token is None:
            raise RefusalError("InvalidRequestException", "You must provide a ClientRequestToken value.")
        kind, value = _value(asked)
        if (there := secret.versions.get(token)) is not None:
            if (there.kind, there.value) != (kind, value):
                raise RefusalError("ResourceExistsException", "A resource with the ID you requested already exists.")
            return token
        if not secret.versions:
            labels = [*labels, CURRENT]
        _count(secret, labels)
        secret.versions[token] = _Version(kind, value, time.time())
        for label in labels:
            secret.move(label, token)
        return token

    def get(self, name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        secret = self.usable(name)
        version, label = _id(asked, "VersionId"), asked.get("VersionStage")
        if version is None:
            label = label or CURRENT
            version = secret.holder(label)
        found = secret.versions.get(version or "")
        if found is None or (label is not None and label not in found.labels):
            raise RefusalError("ResourceNotFoundException", "Secrets Manager can't find the specified secret value")
        return {
            "VersionId": version,
            found.kind: found.value,
            "VersionStages": sorted(found.labels),
            "CreatedDate": found.created,
        }

    def describe(self, name: str) -> dict[str, Any]:
        secret = self.there(name)
        labelled = {version: sorted(one.labels) for version, one in secret.versions.items() if one.labels}
        deleted = {} if secret.deleted_at is None else {"DeletedDate": secret.deleted_at}
        return ({"VersionIdsToStages": labelled} if labelled else {}) | deleted | secret.described

    def move(self, name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        secret = self.usable(name)
        label, to, origin = (
            asked.get("VersionStage", ""),
            _id(asked, "MoveToVersionId"),
            _id(asked, "RemoveFromVersionId"),
        )
        if not 1 <= len(label) <= 256:
            raise RefusalError("InvalidParameterException", "VersionStage has 1 to 256 characters.")
        for version in (to, origin):
            if version is not None and version not in secret.versions:
                raise RefusalError(
                    "ResourceNotFoundException", "Secrets Manager can't find the specified secret version."
                )
        if origin != (holder := secret.holder(label)):
            raise RefusalError("InvalidParameterException", f"Staging label {label} is currently attached to {holder}.")
        if label == CURRENT and to is None:
            raise RefusalError("InvalidParameterException", "AWSCURRENT can only be moved.")
        if to is not None:
            _count(secret, [label])
        secret.move(label, to)
        return {}

    def delete(self, name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        force, days = asked.get("ForceDeleteWithoutRecovery", False), asked.get("RecoveryWindowInDays")
        if force and days is not None:
            raise RefusalError("InvalidParameterException", "Give a recovery window, or delete without one.")
        if days is not None and not 7 <= days <= 30:
            raise RefusalError("InvalidParameterException", "RecoveryWindowInDays is from 7 to 30.")
        if force:
            self.secrets.pop(name, None)
            return {"DeletionDate": time.time()}
        self.usable(name).deleted_at = time.time()
        return {"DeletionDate": time.time() + (days or 30) * 86400}

    def restore(self, name: str) -> dict[str, Any]:
        self.there(name).deleted_at = None
        return {}

    def there(self, name: str) -> _Secret:
        found = self.secrets.get(name)
        if found is None:
            raise RefusalError("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
        return found

    def usable(self, name: str) -> _Secret:
        found = self.there(name)
        if found.deleted_at is not None:
            raise RefusalError("InvalidRequestException", "the secret was marked for deletion.")
        return found


def _id(asked: Mapping[str, Any], key: str) -> str | None:
    found = asked.get(key)
    if found is not None and not 32 <= len(found) <= 64:
        raise RefusalError("InvalidParameterException", f"{key} has 32 to 64 characters.")
    return found


def _value(asked: Mapping[str, Any]) -> tuple[str, str]:
    kinds = [kind for kind in ("SecretString", "SecretBinary") if kind in asked]
    if len(kinds) != 1:
        raise RefusalError("InvalidParameterException", "You must provide either SecretString or SecretBinary.")
    value = str(asked[kinds[0]])
    try:
        raw = value.encode() if kinds[0] == "SecretString" else base64.b64decode(value, validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raw = b""
    if not 1 <= len(raw) <= MAX_VALUE:
        raise RefusalError("ValidationException", f"The value must have from 1 to {MAX_VALUE} bytes.")
    return kinds[0], value


def _count(secret: _Secret, labels: list[str]) -> None:
    there = {label for one in secret.versions.values() for label in one.labels}
    if len(there | set(labels)) > MAX_LABELS:
        raise RefusalError("LimitExceededException", "too many staging labels")
