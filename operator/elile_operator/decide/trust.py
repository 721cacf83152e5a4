"""Decide whether the ConfigMap that a VaultServer names gives a CA bundle, and say what to do where it does not."""

from collections.abc import Mapping

from elile.secrets.tls import is_bundle
from elile_operator.api.reasons import Reason
from elile_operator.api.vaultserver import CaBundleRef
from elile_operator.decide.violation import Violation

__all__ = ["bundle_of", "no_config_map", "no_right"]

MAX_BUNDLE = 131072  # characters, as of spec.tls.caBundle


def bundle_of(ref: CaBundleRef, data: Mapping[str, str]) -> str | Violation:
    """Return the certificates in PEM; `data` is the ConfigMap's."""
    text = data.get(ref.key)
    if text is None:
        held = ", ".join(repr(key) for key in sorted(data)[:5]) or "nothing"
        return _unusable(
            f"{_where(ref)} has no key {ref.key!r} (it holds {held}); put the CA there, or correct "
            "spec.tls.caBundleRef.key"
        )
    if len(text) > MAX_BUNDLE:
        return _unusable(
            f"{_where(ref)} holds more than {MAX_BUNDLE} characters in {ref.key!r}; put the CA alone there"
        )
    if not is_bundle(text):
        return _unusable(
            f"{_where(ref)} holds in {ref.key!r} what cannot be read as certificates in PEM, or a private key; put the "
            "certificate of the CA there"
        )
    return text


def no_config_map(ref: CaBundleRef) -> Violation:
    """Return what is wrong where there is none."""
    return _unusable(f"{_where(ref)} does not exist; create it, or correct namespace and name")


def no_right(ref: CaBundleRef, account: str) -> Violation:
    """Return what is wrong where the operator may not read it; `account` is its `<namespace>:<ServiceAccount>`.

    The right is to this ConfigMap and no other: what the others hold is none of the operator's business.
    """
    role = f"elile-ca-{ref.name}"
    return _unusable(
        f"the operator has no right to read {_where(ref)}; give it: "
        f"kubectl -n {ref.namespace} create role {role} --verb=get --resource=configmaps --resource-name={ref.name} && "
        f"kubectl -n {ref.namespace} create rolebinding {role} --role={role} --serviceaccount={account}"
    )


def _where(ref: CaBundleRef) -> str:
    return f"ConfigMap {ref.namespace}/{ref.name} of spec.tls.caBundleRef"


def _unusable(message: str) -> Violation:
    return Violation(Reason.CA_BUNDLE_UNUSABLE, message)
