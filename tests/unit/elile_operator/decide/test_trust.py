"""What a ConfigMap that a VaultServer names gives: certificates, or what to do."""

import pytest

from elile_operator.api.reasons import Reason
from elile_operator.api.vaultserver import CaBundleRef
from elile_operator.decide.trust import MAX_BUNDLE, bundle_of, no_config_map, no_right
from elile_operator.decide.violation import Violation
from tests.fakes.http import Authority

REF = CaBundleRef(namespace="vault", name="vault-ca", key="ca.crt")
AT = "ConfigMap vault/vault-ca of spec.tls.caBundleRef"
PEM = Authority().pem
UNREADABLE = (
    f"{AT} holds in 'ca.crt' what cannot be read as certificates in PEM, or a private key; put the certificate of the "
    "CA there"
)


def test_certificates_are_taken_as_they_are() -> None:
    assert bundle_of(REF, {"ca.crt": PEM, "other": "x"}) == PEM
    two = f"# größer\n{PEM}{Authority().pem}"
    assert bundle_of(REF, {"ca.crt": two}) == two
    longest = PEM + " " * (MAX_BUNDLE - len(PEM))
    assert bundle_of(REF, {"ca.crt": longest}) == longest


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(
            {},
            f"{AT} has no key 'ca.crt' (it holds nothing); put the CA there, or correct spec.tls.caBundleRef.key",
            id="empty",
        ),
        pytest.param(
            dict.fromkeys("gfedcba", PEM),
            f"{AT} has no key 'ca.crt' (it holds 'a', 'b', 'c', 'd', 'e'); put the CA there, or correct "
            "spec.tls.caBundleRef.key",
            id="other keys, the first few",
        ),
        pytest.param({"ca.crt": ""}, UNREADABLE, id="nothing there"),
        pytest.param({"ca.crt": "hello"}, UNREADABLE, id="no PEM"),
        pytest.param({"ca.crt": PEM.replace("M", "!", 5)}, UNREADABLE, id="broken PEM"),
        pytest.param({"ca.crt": f"{PEM}-----BEGIN PRIVATE KEY-----"}, UNREADABLE, id="with a key"),
        pytest.param(
            {"ca.crt": PEM + " " * (MAX_BUNDLE + 1 - len(PEM))},
            f"{AT} holds more than 131072 characters in 'ca.crt'; put the CA alone there",
            id="too much",
        ),
    ],
)
def test_what_is_no_bundle(data: dict[str, str], message: str) -> None:
    assert bundle_of(REF, data) == Violation(Reason.CA_BUNDLE_UNUSABLE, message)


def test_a_missing_config_map_and_a_missing_right_are_told_apart() -> None:
    assert no_config_map(REF) == Violation(
        Reason.CA_BUNDLE_UNUSABLE, f"{AT} does not exist; create it, or correct namespace and name"
    )
    assert no_right(REF, "elile-system:elile-operator") == Violation(
        Reason.CA_BUNDLE_UNUSABLE,
        f"the operator has no right to read {AT}; give it: kubectl -n vault create role elile-ca-vault-ca --verb=get "
        "--resource=configmaps --resource-name=vault-ca && kubectl -n vault create rolebinding elile-ca-vault-ca "
        "--role=elile-ca-vault-ca --serviceaccount=elile-system:elile-operator",
    )
