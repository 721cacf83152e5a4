"""The auth methods of a VaultServer: how tenants log in, each as a ServiceAccount of its own."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from elile_operator.api.model import SpecModel
from elile_operator.api.rules import Checked, exactly_one, free_of, matches
from elile_operator.api.syntax import MAX_MOUNT, MAX_VAULT_NAMESPACE, ROOT_NAMESPACE, login_namespace, vault_path

__all__ = ["AUTH_IS_ONE", "Auth", "AuthMethod", "JwtAuth", "KubernetesAuth"]

MAX_AUDIENCE = 253


class AuthMethod(StrEnum):
    """The auth methods, as `spec.auth` names them."""

    KUBERNETES = "kubernetes"
    JWT = "jwt"


def _mount(method: AuthMethod) -> Checked:
    field = f"spec.auth.{method}.mount"
    return Checked(
        *vault_path(field), free_of("^auth/", f"{field} must be written without auth/, for example {method}")
    )


def _audience(method: AuthMethod) -> Checked:
    field = f"spec.auth.{method}.audience"
    return Checked(
        matches("[!-~]+", f"{field} must be one word of plain characters, for example elile"),
        free_of(
            r"^(https?://)?kubernetes\.default",
            f"{field} must not be the one of the Kubernetes API, where Vault could then use the tenant's token; choose "
            "a word of its own, for example elile",
        ),
    )


def _namespace(method: AuthMethod) -> Checked:
    return Checked(*login_namespace(f"spec.auth.{method}.namespace"))


_NAMESPACE = f"Namespace of the server to log in to; {ROOT_NAMESPACE}: the root namespace. Absent: spec.namespace."


class KubernetesAuth(SpecModel):
    """The auth method `kubernetes`: Vault asks Kubernetes whether the ServiceAccount's token is good."""

    mount: Annotated[str, StringConstraints(min_length=1, max_length=MAX_MOUNT), _mount(AuthMethod.KUBERNETES)] = Field(
        "kubernetes", description="Where the auth method is mounted, without auth/. Absent: kubernetes."
    )
    audience: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_AUDIENCE), _audience(AuthMethod.KUBERNETES)
    ] = Field("elile", description="Audience of the tokens sent to Vault; its roles must expect it. Absent: elile.")
    namespace: (
        Annotated[
            str, StringConstraints(min_length=1, max_length=MAX_VAULT_NAMESPACE), _namespace(AuthMethod.KUBERNETES)
        ]
        | None
    ) = Field(None, description=_NAMESPACE)


class JwtAuth(SpecModel):
    """The auth method `jwt`: Vault checks the ServiceAccount's token with the public keys of Kubernetes."""

    mount: Annotated[str, StringConstraints(min_length=1, max_length=MAX_MOUNT), _mount(AuthMethod.JWT)] = Field(
        "jwt", description="Where the auth method is mounted, without auth/. Absent: jwt."
    )
    audience: Annotated[str, StringConstraints(min_length=1, max_length=MAX_AUDIENCE), _audience(AuthMethod.JWT)] = (
        Field("elile", description="Audience of the tokens sent to Vault; bound_audiences must hold it. Absent: elile.")
    )
    namespace: (
        Annotated[str, StringConstraints(min_length=1, max_length=MAX_VAULT_NAMESPACE), _namespace(AuthMethod.JWT)]
        | None
    ) = Field(None, description=_NAMESPACE)


class Auth(SpecModel):
    """How tenants log in: always with a short-lived token of the tenant's own ServiceAccount."""

    kubernetes: KubernetesAuth | None = Field(None, description="Log in with Vault's auth method `kubernetes`.")
    jwt: JwtAuth | None = Field(
        None, description="Log in with Vault's auth method `jwt`, whose roles can take several audiences."
    )

    @property
    def method(self) -> AuthMethod:
        """The one there is."""
        return AuthMethod.JWT if self.jwt is not None else AuthMethod.KUBERNETES

    @property
    def settings(self) -> KubernetesAuth | JwtAuth:
        """Those of the method."""
        found = self.jwt or self.kubernetes
        assert found is not None  # noqa: S101 - AUTH_IS_ONE
        return found


AUTH_IS_ONE = exactly_one("spec.auth", (AuthMethod.KUBERNETES.value, AuthMethod.JWT.value))
