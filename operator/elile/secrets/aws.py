"""AWS Secrets Manager as a place that keeps secrets: versions by their ids, staging by labels. Needs `elile[aws]`."""

import base64
import contextlib
import json
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from elile.secrets.aws_calls import AWSCalls, AWSLogin, RefusedError, deleted
from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretConflictError,
    SecretDeletedError,
    SecretNotFoundError,
    SecretsConfigurationError,
    SecretsError,
    SecretsMalformedResponseError,
    SecretValidationError,
    SecretVersionNotFoundError,
)
from elile.secrets.protocol import Capabilities, Reading, Ref, Version, VersionedCapabilities
from elile.secrets.redact import Redacted, SecretStr
from elile.secrets.types import SecretMetadata

__all__ = ["MAX_BYTES", "AWSBackend"]

MAX_BYTES = 64 * 1024
VALUE = "value"  # the key of an entry that is no JSON object

CURRENT = "AWSCURRENT"
# AWS's own label of a rotation under way: while we hold it, AWS does not begin one of its own.
PENDING = "AWSPENDING"
# One name for all writes: a secret has 20 labels at most, and a writer that dies leaves its own behind.
WRITING = "elile-write"

_NAME = re.compile(r"[A-Za-z0-9/_+=.@-]+")
_MAX_NAME = 512
_ID_LENGTHS = range(32, 65)
_KEYS = uuid.UUID("6f1d7f0c-5f7d-5c0e-9a52-0d6b7a3f9c11")


class AWSBackend:
    """Secrets Manager of one region and account. Safe to share between threads.

    The name of a secret is `prefix` and the path, put together as they are. `endpoint_url` replaces the region's
    address. Without `access_key_id`, boto3 looks for credentials itself; that, and everything else on the network, is
    first done when something is asked for. `timeout_seconds` holds for connecting, and for the answer, of each of at
    most `max_attempts` tries.

    A SecretString that is a JSON object gives its keys. Any other text is the key `value`, and a SecretBinary is the
    key `value` as base64 text. Writing always stores a JSON object.

    A version is its VersionId. It is current by the label AWSCURRENT, which all reads name: policies may ask for it.
    Reading takes one call and tells no previous version.

    Raises SecretBackendMissingError without boto3, SecretsConfigurationError for a prefix that no name can begin with.
    """

    name = "aws"
    capabilities = Capabilities(write=True, versions=True, version_check=True, expect=True)
    versioned = VersionedCapabilities(
        native_stage=True, promote_compares=True, pointer_rollback=True, max_bytes=MAX_BYTES
    )

    def __init__(
        self,
        *,
        region: str,
        endpoint_url: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: SecretStr | None = None,
        session_token: SecretStr | None = None,
        prefix: str = "",
        timeout_seconds: float = 10.0,
        max_attempts: int = 3,
    ) -> None:
        if prefix and (not _NAME.fullmatch(prefix) or _leads_elsewhere(prefix.removesuffix("/").removeprefix("/"))):
            raise SecretsConfigurationError(
                f"aws.prefix {prefix!r} is nothing a name can begin with", backend=self.name
            )
        login = AWSLogin(access_key_id, secret_access_key, session_token)
        self._calls = AWSCalls(region, endpoint_url, login, timeout=timeout_seconds, attempts=max_attempts)
        self._prefix = prefix

    def __repr__(self) -> str:
        return f"AWSBackend(region={self._calls.region!r}, prefix={self._prefix!r})"

    # ── reading and writing ──────────────────────────────────────────────────────────────────────────────────────────

    def read(self, path: str, *, version: str | None = None) -> Reading:
        """Return an entry: what AWSCURRENT is on, or the version of an id.

        Raises SecretNotFoundError (also for a secret without a value), SecretVersionNotFoundError, or
        SecretDeletedError for a secret scheduled for deletion; its `version` is 0, since AWS deletes all of them.
        """
        return self._reading(path, self._get(path, version))

    def version(self, path: str) -> str:
        """Return the id that AWSCURRENT is on. Needs secretsmanager:DescribeSecret. Raises as `read` does."""
        found = self._labels(path).get(CURRENT)
        if found is None:
            raise self._not_found(path)
        return found

    def write(self, path: str, data: Mapping[str, Any], *, expect: str | None = None) -> Reading:
        """Store the next version; the secret is created, with AWS's own KMS key, where there is none.

        With `expect` the label is moved off that version, which AWS refuses when it is not there; this takes up to
        four calls, and secretsmanager:DescribeSecret and UpdateSecretVersionStage. `expect` "" only creates: a secret
        without a value is a conflict too. AWS asks for not more than one write in 10 minutes over long times.

        Raises SecretConflictError, SecretDeletedError, SecretManagedElsewhereError for a secret that another service
        of AWS owns, or SecretValidationError when the data is not JSON or over 64 KiB.
        """
        text, token = self._text(path, data), str(uuid.uuid4())
        if expect is None:
            self._replace(path, text, token)
        elif expect == "":
            self._create(path, text, token)
        else:
            self._swap(path, text, token, expect)
        return Reading(Redacted(dict(data)), SecretMetadata(version=token, source=self.name))

    def check(self) -> None:
        """Ask for a secret that need not be there: to be told so, or to be refused it, takes a good login."""
        with contextlib.suppress(SecretNotFoundError, SecretAccessDeniedError):
            self._describe("elile-check")

    def close(self) -> None:
        """Close the connections."""
        self._calls.close()

    def after_fork(self) -> None:
        """In the child: make connections of its own, since the parent goes on to use the ones there are."""
        self._calls.after_fork()

    # ── versions ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def current(self, path: str) -> Version:
        """Return what AWSCURRENT is on. Raises as `read` does."""
        return self._version(path, None)

    def stage(self, path: str, data: Mapping[str, Any], *, key: str) -> Ref:
        """Store a version with the label AWSPENDING; its id is made of the secret's name and the key.

        Raises SecretNotFoundError where there is no current version (AWS would make the staged one current),
        SecretConflictError when the key was used for other data or a rotation of AWS's own is under way, and else what
        `write` does.
        """
        text, token = self._text(path, data), str(uuid.uuid5(_KEYS, f"{self._name(path)}\n{key}"))
        found = self._describe(path)
        labels = self._labels(path, found)
        if CURRENT not in labels:
            raise self._not_found(path)
        holder = labels.get(PENDING)
        if found.get("RotationEnabled") and holder not in (None, token, labels[CURRENT]):
            raise SecretConflictError("AWS is rotating the secret itself", path=path, backend=self.name)
        try:
            put = self._put(path, text, token, PENDING)
        except SecretConflictError:
            put = None
        if put is None:
            raise SecretConflictError(f"other data was staged with the key {key!r}", path=path, backend=self.name)
        if not {PENDING, CURRENT} & set(put.get("VersionStages", ())):
            # It was discarded before: storing the same again does nothing, so the label has to be put back.
            self._move(path, PENDING, to=token, expect=holder)
        return Ref(token, key)

    def read_staged(self, path: str, ref: Ref) -> Redacted[Mapping[str, Any]]:
        """Return what was stored. Raises SecretVersionNotFoundError once AWS has removed it after `discard`."""
        return self._version(path, ref.id).data

    def promote(self, path: str, ref: Ref, *, expect: Version) -> Version:
        """Move AWSCURRENT from `expect` to the staged version, in one step. Is it there already: answers it.

        Raises SecretConflictError when AWSCURRENT is on neither, SecretVersionNotFoundError as `read_staged`.
        """
        staged = self._version(path, ref.id)
        self._move(path, CURRENT, to=ref.id, expect=expect.id)
        return staged

    def rollback(self, path: str, *, to: Version, expect: Version) -> Version:
        """Move AWSCURRENT back. Raises as `promote` does."""
        self._move(path, CURRENT, to=to.id, expect=expect.id)
        return to

    def discard(self, path: str, ref: Ref) -> None:
        """Take AWSPENDING off, if it is there still. A version without labels is removed by AWS some time later."""
        with contextlib.suppress(SecretNotFoundError):
            if self._labels(path).get(PENDING) == ref.id:
                self._unlabel(path, PENDING, ref.id)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _get(self, path: str, version: str | None) -> Mapping[str, Any]:
        if version is None:
            return self._call(path, "get_secret_value", SecretId=self._name(path), VersionStage=CURRENT)
        name = self._name(path)
        if len(version) in _ID_LENGTHS:
            try:
                return self._call(path, "get_secret_value", SecretId=name, VersionId=version)
            except SecretDeletedError:
                raise
            except SecretNotFoundError:
                pass
        with contextlib.suppress(SecretAccessDeniedError):
            self._describe(path)  # to tell a version that is not there from a secret that is not
        raise SecretVersionNotFoundError("there is no such version, or not any more", path=path, backend=self.name)

    def _version(self, path: str, version: str | None) -> Version:
        found = self._reading(path, self._get(path, version))
        return Version(found.metadata.version or "", found.data)

    def _reading(self, path: str, answer: Mapping[str, Any]) -> Reading:
        created = answer.get("CreatedDate")
        try:
            data = _data(answer)
            version = str(answer["VersionId"])
        except KeyError:
            data, version = None, ""
        if data is None:
            raise SecretsMalformedResponseError("the answer holds no value", path=path, backend=self.name)
        metadata = SecretMetadata(
            version=version,
            created_at=created.astimezone(UTC) if isinstance(created, datetime) else None,
            source=self.name,
        )
        return Reading(data, metadata)

    def _describe(self, path: str) -> Mapping[str, Any]:
        return self._call(path, "describe_secret", SecretId=self._name(path))

    def _labels(self, path: str, found: Mapping[str, Any] | None = None) -> dict[str, str]:
        """Return the version that each label is on. A secret that is to be deleted is described like any other."""
        found = self._describe(path) if found is None else found
        if "DeletedDate" in found:
            raise deleted(path, found["DeletedDate"])
        stages = found.get("VersionIdsToStages", {})
        return {label: version for version, labels in stages.items() for label in labels}

    def _create(self, path: str, text: Redacted[str], token: str) -> None:
        name = self._name(path)
        self._call(path, "create_secret", Name=name, ClientRequestToken=token, SecretString=text.reveal())

    def _put(self, path: str, text: Redacted[str], token: str, label: str) -> Mapping[str, Any]:
        return self._call(
            path,
            "put_secret_value",
            SecretId=self._name(path),
            ClientRequestToken=token,
            SecretString=text.reveal(),
            VersionStages=[label],
        )

    def _replace(self, path: str, text: Redacted[str], token: str) -> None:
        try:
            self._put(path, text, token, CURRENT)
            return
        except SecretDeletedError:
            raise
        except SecretNotFoundError:
            pass
        try:
            self._create(path, text, token)
            return
        except SecretConflictError:
            pass
        self._put(path, text, token, CURRENT)  # somebody else has just created it

    def _swap(self, path: str, text: Redacted[str], token: str, expect: str) -> None:
        try:
            current = self._labels(path).get(CURRENT)
        except SecretDeletedError:
            raise
        except SecretNotFoundError:
            current = None
        # Refused before anything is stored: versions are few, and the very first one would be current at once.
        if current != expect:
            raise self._conflict(path)
        self._put(path, text, token, WRITING)
        try:
            self._move(path, CURRENT, to=token, expect=expect)
        finally:
            with contextlib.suppress(SecretsError):  # the next write takes the label over
                self._unlabel(path, WRITING, token)

    def _move(self, path: str, label: str, *, to: str, expect: str | None) -> None:
        """Move a label off the version that it must be on. Is it where it should go already: done."""
        if len(to) not in _ID_LENGTHS or (expect is not None and len(expect) not in _ID_LENGTHS):
            raise self._conflict(path)
        origin = {} if expect is None else {"RemoveFromVersionId": expect}
        name = self._name(path)
        try:
            self._calls.call(
                path, "update_secret_version_stage", SecretId=name, VersionStage=label, MoveToVersionId=to, **origin
            )
            return
        except SecretDeletedError:
            raise
        except SecretNotFoundError:
            error: SecretsError = SecretVersionNotFoundError(
                "the version is not kept any more", path=path, backend=self.name
            )
        except RefusedError as e:
            error = SecretsConfigurationError(e.detail, path=path, backend=self.name)
        # An answer may have been lost, so what AWS says against it is less than where the label is.
        holder = self._labels(path).get(label)
        if holder == to:
            return
        raise error if holder == expect else self._conflict(path)

    def _unlabel(self, path: str, label: str, version: str) -> None:
        name = self._name(path)
        with contextlib.suppress(RefusedError):  # somebody took it off meanwhile
            self._calls.call(
                path, "update_secret_version_stage", SecretId=name, VersionStage=label, RemoveFromVersionId=version
            )

    def _call(self, path: str, operation: str, **arguments: Any) -> Mapping[str, Any]:
        try:
            return self._calls.call(path, operation, **arguments)
        except RefusedError as e:
            detail = e.detail
        raise SecretsConfigurationError(detail, path=path, backend=self.name)

    def _name(self, path: str) -> str:
        name = self._prefix + path
        if not _NAME.fullmatch(path) or _leads_elsewhere(path) or len(name) > _MAX_NAME:
            raise SecretsConfigurationError(
                "a path is made of parts joined by '/', of letters, digits and _+=.@-, none of them '.' or '..', "
                f"up to {_MAX_NAME} characters with the prefix",
                path=path,
                backend=self.name,
            )
        return name

    def _text(self, path: str, data: Mapping[str, Any]) -> Redacted[str]:
        # Sorted, since storing the same again under the same key must be the same text.
        try:
            text = json.dumps(dict(data), allow_nan=False, sort_keys=True)
        except (TypeError, ValueError, RecursionError):
            text = ""
        if not text:
            what = "must be made of JSON values; wrapped ones are revealed first"
        elif len(text) > MAX_BYTES:
            what = f"is larger than {MAX_BYTES} bytes"
        else:
            return Redacted(text)
        raise SecretValidationError({"the entry": what}, path=path, backend=self.name)

    def _not_found(self, path: str) -> SecretNotFoundError:
        return SecretNotFoundError("nothing is stored here", path=path, backend=self.name)

    def _conflict(self, path: str) -> SecretConflictError:
        return SecretConflictError(
            "the current version is not the expected one: read it, and decide anew", path=path, backend=self.name
        )


def _leads_elsewhere(path: str) -> bool:
    return any(part in ("", ".", "..") for part in path.split("/"))


def _data(answer: Mapping[str, Any]) -> Redacted[Mapping[str, Any]]:
    if "SecretString" not in answer:
        return Redacted({VALUE: base64.b64encode(answer["SecretBinary"]).decode("ascii")})
    text = answer["SecretString"]
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    return Redacted(found if isinstance(found, dict) else {VALUE: text})
