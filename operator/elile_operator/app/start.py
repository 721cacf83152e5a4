"""What must be so before the operator can start: credentials, an API server with our kinds, an own namespace."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from elile_operator.api.meta import GROUP, VERSION
from elile_operator.delivery.fingerprint_key import FingerprintKeyError
from elile_operator.kube.client import KubeClient
from elile_operator.kube.credentials import (
    CredentialsError,
    CredentialSource,
    KubeconfigCredentials,
    ServiceAccountCredentials,
)
from elile_operator.kube.errors import KubeError, KubeForbiddenError, KubeNotFoundError
from elile_operator.kube.resources import ELILE_SECRETS, ROTATION_SCHEDULES, ROTATIONS, VAULT_SERVERS
from elile_operator.settings import Settings

__all__ = ["StartError", "api_server", "credentials", "in_own_namespace", "own_namespace", "wait_for_kinds"]

T = TypeVar("T")
log = logging.getLogger(__name__)

SYSTEM_NAMESPACE = "elile-system"
START_RETRY = 2.0


class StartError(Exception):
    """The operator cannot start; the message says what to do."""


def credentials(settings: Settings) -> CredentialSource:
    """What was named; else the pod's own; else what kubectl would use."""
    if settings.kubeconfig:
        return KubeconfigCredentials(settings.kubeconfig, settings.context)
    if ServiceAccountCredentials.present(settings.service_account_folder):
        return ServiceAccountCredentials(settings.service_account_folder)
    named = os.environ.get("KUBECONFIG")
    return KubeconfigCredentials(Path(named) if named else Path.home() / ".kube" / "config", settings.context)


def own_namespace(settings: Settings) -> str:
    """What was named; else the pod's; else the one that the manifests use."""
    return settings.namespace or _pod_namespace(settings.service_account_folder) or SYSTEM_NAMESPACE


async def api_server(source: CredentialSource) -> str:
    """Return where the API server is."""
    try:
        return (await source.load()).server
    except CredentialsError as e:
        raise StartError(str(e)) from None


async def wait_for_kinds(kube: KubeClient) -> None:
    """Return once the API server answers and serves our kinds; says what it waits for, once for each cause."""
    kinds = (VAULT_SERVERS, ELILE_SECRETS, ROTATION_SCHEDULES, ROTATIONS)
    wanted, said = {kind.plural for kind in kinds}, ""
    while True:
        try:
            served = {r["name"] for r in (await kube.raw(f"/apis/{GROUP}/{VERSION}"))["resources"]}
            missing = wanted - served
            why = f"the CRDs of {', '.join(sorted(missing))} are missing: kubectl apply --server-side -f crds/"
            if not missing:
                return
        except KubeNotFoundError:
            why = "the CRDs of group elile.io are missing: kubectl apply --server-side -f crds/"
        except CredentialsError as e:
            raise StartError(str(e)) from None
        except KubeError as e:
            why = f"the API server does not serve us yet ({e.safe_text})"
        if why != said:
            log.warning("waiting: %s", why)
            said = why
        await asyncio.sleep(START_RETRY)


async def in_own_namespace(namespace: str, what: str, call: Callable[[], Awaitable[T]]) -> T:
    """Make a call that needs the operator's own namespace and rights in it; waits while the API server is away."""
    said = False
    while True:
        try:
            return await call()
        except KubeNotFoundError:
            raise StartError(
                f"namespace {namespace} does not exist; create it, or name the operator's own with --namespace"
            ) from None
        except KubeForbiddenError:
            raise StartError(
                f"the operator may not {what} in its own namespace {namespace}; apply policies/rbac/"
            ) from None
        except FingerprintKeyError as e:
            raise StartError(str(e)) from None
        except KubeError as e:
            if not said:
                log.warning("waiting: the API server is away (%s)", e.safe_text)
            said = True
        await asyncio.sleep(START_RETRY)


def _pod_namespace(folder: Path) -> str | None:
    try:
        return (folder / "namespace").read_text().strip() or None
    except OSError:
        return None
