"""A Secrets Manager on loopback for tests of your own, stricter than a stand-in that takes everything.

    with FakeAWSServer() as server:
        backend = AWSBackend(**server.login())

It speaks the JSON 1.1 protocol that boto3 and AWS's command line speak, keeps everything in memory, and checks the
access key but not the signature. Its rules, each with the page of the AWS API reference or user guide that has it:

* A token (ClientRequestToken) of 32 to 64 characters is given, and becomes the VersionId: API_CreateSecret,
  API_PutSecretValue.
* The same token with the same value does nothing, not even to labels; with another value it is refused with
  ResourceExistsException: API_PutSecretValue ("succeeds but does nothing"), API_CreateSecret.
* A new version has the labels of VersionStages, AWSCURRENT without them; the first version of a secret has AWSCURRENT
  in any case: API_PutSecretValue.
* A label is on one version; giving it to another takes it from there: API_PutSecretValue, API_UpdateSecretVersionStage.
* When AWSCURRENT moves, AWSPREVIOUS moves to where it was: API_PutSecretValue, API_UpdateSecretVersionStage.
* RemoveFromVersionId must name the version that has the label, and must be there when one has it:
  API_UpdateSecretVersionStage ("or the version ID does not match, then the operation fails"). AWSCURRENT is moved and
  never just removed; the page does not say so.
* A read without version and label is of AWSCURRENT; with both, they must be of one version: API_GetSecretValue.
* DescribeSecret tells versions with labels, and no values: API_DescribeSecret. A version without labels can still be
  read by its id until AWS removes it (`prune`): API_UpdateSecretVersionStage ("deprecated").
* A value has 1 to 65536 bytes, text or binary and not both; names are of letters, digits and /_+=.@-, up to 512:
  API_CreateSecret, API_PutSecretValue. A secret has at most 20 labels: user guide, "Secrets Manager quotas".
* A deleted secret is kept for 7 to 30 days, is described with its DeletedDate, and neither read, written nor created
  until it is restored; without recovery it is gone at once: API_DeleteSecret, API_RestoreSecret.
* Refusals have status 400, InternalServiceError 500: "Common Errors".

Not here: policies, replicas, rotation by Lambda, tags, and any delay of what AWS does later.
"""

import json
import threading
import time
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from elile.secrets.redact import SecretStr
from elile.secrets.testing.aws_store import RefusalError, Store

__all__ = ["FakeAWSServer", "Request"]

LARGEST_REQUEST = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One request that came: the operation, such as `GetSecretValue`, and the secret's name. No values."""

    operation: str
    name: str


class FakeAWSServer:
    """The server, in a thread of this process, while the context lasts. Safe to use from several threads.

    `requests` has what came, oldest first. `deny`, `fail` and `lose` are switches for what tests arrange. `delay` is
    seconds that each answer takes.
    """

    def __init__(self) -> None:
        self.access_key_id = f"FAKE{uuid.uuid4().hex[:16].upper()}"
        self.requests: list[Request] = []
        self.delay = 0.0
        self._secret_access_key = SecretStr(uuid.uuid4().hex)
        self._store = Store()
        self._lock = threading.Lock()
        self._denied: set[tuple[str, str]] = set()
        self._failures: list[str] = []
        self._lost = 0
        self._server: ThreadingHTTPServer | None = None
        self._stopped = False

    def __enter__(self) -> Self:
        fake: FakeAWSServer = self

        class Handler(_Handler):
            ours = fake

        self._stopped = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="fake-aws", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped = True  # connections that are kept have threads of their own
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    @property
    def url(self) -> str:
        """Address of the server. Raises RuntimeError outside of the context."""
        if self._server is None:
            raise RuntimeError("the server runs inside of its `with` only")
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def login(self) -> dict[str, Any]:
        """Return what AWSBackend needs to use this server, as keyword arguments."""
        return {
            "region": "us-east-1",
            "endpoint_url": self.url,
            "access_key_id": self.access_key_id,
            "secret_access_key": self._secret_access_key,
        }

    # ── what tests arrange ───────────────────────────────────────────────────────────────────────────────────────────

    def reset(self) -> None:
        """Forget all secrets, requests and switches."""
        with self._lock:
            self.requests.clear()
            self.delay = 0.0
            self._store = Store()
            self._denied.clear()
            self._failures.clear()
            self._lost = 0

    def deny(self, name: str, *operations: str) -> None:
        """Refuse these operations on a secret, all of them when none is named, until `allow`."""
        with self._lock:
            self._denied.update((name, operation) for operation in operations or ("",))

    def allow(self, name: str) -> None:
        """Take back every `deny` of a secret."""
        with self._lock:
            self._denied = {(denied, operation) for denied, operation in self._denied if denied != name}

    def fail(self, *, next: int = 1, error: str = "InternalServiceError") -> None:
        """Refuse the next requests with an error of this name, before anything is done. boto3 tries some again."""
        with self._lock:
            self._failures += [error] * next

    def lose(self, *, next: int = 1) -> None:
        """Do what the next requests ask, and close the connection instead of an answer."""
        with self._lock:
            self._lost += next

    def described(self, name: str, **fields: Any) -> None:
        """Have DescribeSecret tell more, such as `OwningService`. Raises KeyError for a secret that is not there."""
        with self._lock:
            self._store.secrets[name].described.update(fields)

    def labels(self, name: str) -> dict[str, str]:
        """Return the version that each label of a secret is on. Raises KeyError for one that is not there."""
        with self._lock:
            versions = self._store.secrets[name].versions
            return {label: version for version, one in versions.items() for label in one.labels}

    def versions(self, name: str) -> tuple[str, ...]:
        """Return the ids of all versions, oldest first. Raises KeyError for a secret that is not there."""
        with self._lock:
            return tuple(self._store.secrets[name].versions)

    def prune(self, name: str) -> None:
        """Remove versions without labels, as AWS does some time. Raises KeyError for a secret that is not there."""
        with self._lock:
            secret = self._store.secrets[name]
            secret.versions = {version: one for version, one in secret.versions.items() if one.labels}

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def handle(self, target: str, login: str, body: bytes) -> tuple[int, dict[str, Any]] | None:
        """Return status and answer to a request; None for one whose answer is lost."""
        service, _, operation = target.partition(".")
        with self._lock:
            if self._stopped:
                return None
            try:
                asked = json.loads(body or b"{}")
                if service != "secretsmanager" or not isinstance(asked, dict):
                    raise RefusalError("UnknownOperationException", "not an operation of this server")
                name = str(asked.get("Name" if operation == "CreateSecret" else "SecretId", ""))
                self.requests.append(Request(operation, name))
                if self._failures:
                    raise RefusalError(self._failures.pop(0), "as the test has it")
                if not login:
                    raise RefusalError("MissingAuthenticationTokenException", "Missing Authentication Token")
                if f"Credential={self.access_key_id}/" not in login or "/secretsmanager/aws4_request" not in login:
                    raise RefusalError("UnrecognizedClientException", "The security token is not valid.")
                if {(name, operation), (name, "")} & self._denied:
                    raise RefusalError("AccessDeniedException", f"User is not authorized to perform {operation}")
                answer = 200, self._store.answer(operation, asked)
            except ValueError:
                answer = 400, {"__type": "SerializationException"}
            except RefusalError as e:
                answer = 500 if e.code == "InternalServiceError" else 400, {"__type": e.code, "message": e.message}
            if self._lost:
                self._lost -= 1
                return None
            return answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    ours: FakeAWSServer

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(min(length, LARGEST_REQUEST))
        time.sleep(self.ours.delay)
        answer = self.ours.handle(self.headers.get("X-Amz-Target", ""), self.headers.get("Authorization", ""), body)
        if answer is None:
            self.close_connection = True
            return
        status, content = answer
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""
