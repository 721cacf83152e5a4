"""The lab's two container images, made without a registry from a static busybox. Same busybox, same bytes."""

import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

# What containerd makes of `lab/busybox:1` and `lab/pause:1`. Nothing is ever fetched from there.
BUSYBOX = "docker.io/lab/busybox:1"
PAUSE = "docker.io/lab/pause:1"

_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
_GROUP = b"root:x:0:\nnobody:x:65534:\n"


def of_busybox(busybox: Path) -> bytes:
    return archive(busybox.read_bytes(), _applets(busybox))


def busybox_layer(busybox: Path) -> bytes:
    """What other images can stand on: a shell and its tools."""
    return _layer(busybox.read_bytes(), _applets(busybox))


def archive(busybox: bytes, applets: list[str]) -> bytes:
    """Both images as one OCI archive for `ctr images import`. Pure."""
    layers = [_layer(busybox, applets)]
    return oci_archive(
        [
            (BUSYBOX, layers, {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]}),
            # Holds a pod's namespaces and does nothing; containerd ends it with SIGKILL: it need not listen to signals.
            (PAUSE, layers, {"Entrypoint": ["/bin/sleep", "2147483647"]}),
        ]
    )


def oci_archive(named: list[tuple[str, list[bytes], dict[str, object]]]) -> bytes:
    """Images, each a name, its layers and how it runs, as one OCI archive. Pure."""
    blobs: dict[str, bytes] = {}
    manifests = [_image(blobs, layers, name, config) for name, layers, config in named]
    files = {f"blobs/sha256/{digest}": blob for digest, blob in blobs.items()}
    files["oci-layout"] = json.dumps({"imageLayoutVersion": "1.0.0"}).encode()
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
    return _tar([(member(name, 0o644), content) for name, content in sorted(files.items())])


def _applets(busybox: Path) -> list[str]:
    return subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()


def _layer(busybox: bytes, applets: list[str]) -> bytes:
    folders = [
        folder(name, mode)
        for name, mode in (
            ("bin", 0o755),
            ("etc", 0o755),
            ("root", 0o700),
            ("tmp", 0o1777),
            ("var", 0o755),
            ("run", 0o755),
        )
    ]
    files = [
        (member("bin/busybox", 0o755), busybox),
        (member("etc/passwd", 0o644), _PASSWD),
        (member("etc/group", 0o644), _GROUP),
    ]
    links = [(link(f"bin/{applet}", "busybox"), b"") for applet in sorted(set(applets) - {"busybox"})]
    return _tar([*((folder, b"") for folder in folders), *files, *links])


def _image(blobs: dict[str, bytes], layers: list[bytes], name: str, config: dict[str, object]) -> dict[str, object]:
    described = {
        "architecture": _architecture(),
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST_TYPE,
        "config": _blob(blobs, json.dumps(described).encode(), _CONFIG_TYPE),
        "layers": [_blob(blobs, layer, _LAYER_TYPE) for layer in layers],
    }
    entry = _blob(blobs, json.dumps(manifest).encode(), _MANIFEST_TYPE)
    return {**entry, "annotations": {"io.containerd.image.name": name}}


def _blob(blobs: dict[str, bytes], content: bytes, media_type: str) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    blobs[digest] = content
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def _architecture() -> str:
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def member(name: str, mode: int) -> tarfile.TarInfo:
    """A file of root's, without a time."""
    info = tarfile.TarInfo(name)  # owner root and time 0 are its defaults: nothing of this machine or moment gets in
    info.mode = mode
    return info


def folder(name: str, mode: int) -> tarfile.TarInfo:
    """A folder of root's."""
    info = member(name, mode)
    info.type = tarfile.DIRTYPE
    return info


def link(name: str, target: str) -> tarfile.TarInfo:
    """A symbolic link."""
    info = member(name, 0o777)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


def _tar(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()
