"""The lab's certificate authority and what it signs. Made once per lab; private keys are readable by root only."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.layout import Layout

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
LIFETIME = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


def pair(folder: Path, name: str) -> Pair:
    return Pair(folder / f"{name}.crt", folder / f"{name}.key")


def ca(folder: Path) -> Path:
    return pair(folder, "ca").certificate


def create(layout: Layout) -> None:
    """What is missing of the CA, the servers' and the clients' certificates and the service account keys."""
    folder = layout.pki
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not pair(folder, "ca").certificate.exists():
        create_authority(folder, f"elile lab {layout.name}")
    if not (folder / "service-account.pub").exists():
        _make_service_account_keys(folder)

    loopback = ["127.0.0.1", "localhost"]
    in_cluster = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    servers = {
        "kube-apiserver": [*loopback, layout.gateway, layout.kubernetes_service, *in_cluster],
        "openbao": [*loopback, layout.gateway],
        "kubelet": [layout.node_address, layout.node_name],
        "loopback": loopback,  # controller manager and scheduler: only their health is asked
    }
    for name, hosts in servers.items():
        issue(folder, name, hosts=hosts)
    # The API server's RBAC goes by these names: common name is the user, organisation the group.
    clients = {
        "admin": ("lab-admin", "system:masters"),
        "etcd": ("etcd", None),
        "apiserver-kubelet-client": ("kube-apiserver", "system:masters"),
        "controller-manager": ("system:kube-controller-manager", None),
        "scheduler": ("system:kube-scheduler", None),
        "kube-proxy": ("system:kube-proxy", None),
        "node": (f"system:node:{layout.node_name}", "system:nodes"),
    }
    for name, (user, group) in clients.items():
        # etcd's one certificate serves its clients and its peers, and is shown by both.
        issue(folder, name, hosts=loopback if name == "etcd" else [], user=user, group=group)


def issue(folder: Path, name: str, *, hosts: list[str], user: str | None = None, group: str | None = None) -> Pair:
    """A certificate for a server (`hosts`: names or addresses), a client (`user`), or both. Kept if it exists."""
    files = pair(folder, name)
    if files.certificate.exists():
        return files
    authority = pair(folder, "ca")
    ca_certificate = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    ca_key = load_pem_private_key(authority.key.read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)  # noqa: S101  # create_authority makes no other

    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, user or hosts[0])]
    if group:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    usages = [ExtendedKeyUsageOID.SERVER_AUTH] if hosts else []
    usages += [ExtendedKeyUsageOID.CLIENT_AUTH] if user else []
    builder = (
        _builder(x509.Name(attributes), ca_certificate.subject, key)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if hosts:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False
        )
    _write_key(files.key, key)
    # The certificate last: its existence says that the pair is complete.
    files.certificate.write_bytes(builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM))
    return files


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def create_authority(folder: Path, name: str) -> None:
    """The key and certificate that all others in `folder` are signed with."""
    files = pair(folder, "ca")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(subject, subject, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    _write_key(files.key, key)
    files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))


def _make_service_account_keys(folder: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _write_key(folder / "service-account.key", key)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "service-account.pub").write_bytes(public)


def _write_key(path: Path, key: PrivateKey) -> None:
    write_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def write_private(path: Path, content: bytes) -> None:
    """Written whole or not at all, and never readable by others, not even for a moment."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
        file.write(content)
    unfinished.replace(path)
