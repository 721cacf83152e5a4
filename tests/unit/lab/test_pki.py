"""Certificates name whom they are for, are signed by the lab's CA, and keys are private from their first moment."""

import stat
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab import pki
from lab.layout import Layout


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = Layout("unit", tmp_path_factory.mktemp("lab"), slot=7)
    pki.create(layout)
    return layout


def load(layout: Layout, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pki.pair(layout.pki, name).certificate.read_bytes())


def names(certificate: x509.Certificate) -> set[str]:
    return set(
        map(
            str,
            certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
                x509.DNSName
            ),
        )
    )


def addresses(certificate: x509.Certificate) -> set[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(map(str, found.get_values_for_type(x509.IPAddress)))


def test_the_api_server_is_known_by_all_its_names(layout: Layout) -> None:
    certificate = load(layout, "kube-apiserver")
    assert addresses(certificate) == {"127.0.0.1", layout.gateway, layout.kubernetes_service}
    assert {"localhost", "kubernetes.default.svc"} <= names(certificate)


def test_openbao_is_known_on_loopback_and_on_the_bridge(layout: Layout) -> None:
    assert addresses(load(layout, "openbao")) == {"127.0.0.1", layout.gateway}


@pytest.mark.parametrize(
    ("name", "user", "group"),
    [
        ("admin", "lab-admin", "system:masters"),
        ("node", "system:node:lab-unit", "system:nodes"),
        ("kube-proxy", "system:kube-proxy", None),
    ],
)
def test_clients_are_who_rbac_thinks(layout: Layout, name: str, user: str, group: str | None) -> None:
    certificate = load(layout, name)
    subject = {a.oid: a.value for a in certificate.subject}
    assert subject.get(NameOID.COMMON_NAME) == user
    assert subject.get(NameOID.ORGANIZATION_NAME) == group
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_the_lab_signs_them_all(layout: Layout) -> None:
    authority = load(layout, "ca")
    leaves = [path for path in layout.pki.glob("*.crt") if path.name != "ca.crt"]
    assert len(leaves) == 11
    for path in leaves:
        x509.load_pem_x509_certificate(path.read_bytes()).verify_directly_issued_by(authority)


def test_private_keys_are_for_their_owner_only(layout: Layout) -> None:
    keys = list(layout.pki.glob("*.key"))
    assert len(keys) == 13
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}


def test_making_them_again_changes_nothing(layout: Layout) -> None:
    before = {path: path.read_bytes() for path in layout.pki.iterdir()}
    pki.create(layout)
    assert {path: path.read_bytes() for path in layout.pki.iterdir()} == before


def test_a_pair_whose_certificate_is_missing_is_made_again(layout: Layout) -> None:
    first = pki.issue(layout.pki, "db", hosts=["127.0.0.1", "db.example"])
    assert addresses(load(layout, "db")) == {str(ip_address("127.0.0.1"))}
    key = first.key.read_bytes()
    first.certificate.unlink()  # interrupted between key and certificate
    second = pki.issue(layout.pki, "db", hosts=["127.0.0.1"])
    assert second.key.read_bytes() != key


def test_a_private_file_replaces_another_whole(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text("old")
    path.chmod(0o644)
    pki.write_private(path, b"new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
