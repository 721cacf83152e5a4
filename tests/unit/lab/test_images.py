"""The images are valid OCI archives and the same bytes every time."""

import hashlib
import io
import json
import tarfile

from lab.images import BUSYBOX, PAUSE, archive, oci_archive

APPLETS = ["sh", "sleep", "busybox", "cat"]


def files(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {m.name: (f.read() if (f := tar.extractfile(m)) else b"") for m in tar.getmembers() if m.isfile()}


def test_the_same_busybox_gives_the_same_bytes() -> None:
    assert archive(b"elf", APPLETS) == archive(b"elf", list(reversed(APPLETS)))
    assert archive(b"elf", APPLETS) != archive(b"other", APPLETS)


def test_every_blob_has_the_name_of_its_content() -> None:
    blobs = {name: content for name, content in files(archive(b"elf", APPLETS)).items() if name.startswith("blobs/")}
    assert blobs
    assert all(name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}" for name, content in blobs.items())


def test_both_images_are_named_and_lead_to_a_layer_with_the_applets() -> None:
    content = files(archive(b"elf", APPLETS))
    manifests = json.loads(content["index.json"])["manifests"]
    assert [m["annotations"]["io.containerd.image.name"] for m in manifests] == [BUSYBOX, PAUSE]
    for entry in manifests:
        manifest = json.loads(content["blobs/sha256/" + entry["digest"].removeprefix("sha256:")])
        config = json.loads(content["blobs/sha256/" + manifest["config"]["digest"].removeprefix("sha256:")])
        layer = content["blobs/sha256/" + manifest["layers"][0]["digest"].removeprefix("sha256:")]
        assert config["rootfs"]["diff_ids"] == [manifest["layers"][0]["digest"]]
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            links = {m.name: m.linkname for m in tar.getmembers() if m.issym()}
            assert links == {f"bin/{applet}": "busybox" for applet in ("sh", "sleep", "cat")}
            assert all(m.mtime == 0 and m.uid == 0 for m in tar.getmembers())


def test_an_image_of_several_layers_names_them_in_order() -> None:
    content = files(oci_archive([("lab/x:1", [b"first", b"second"], {"Cmd": ["x"]})]))
    (entry,) = json.loads(content["index.json"])["manifests"]
    manifest = json.loads(content["blobs/sha256/" + entry["digest"].removeprefix("sha256:")])
    config = json.loads(content["blobs/sha256/" + manifest["config"]["digest"].removeprefix("sha256:")])
    digests = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in (b"first", b"second")]
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]] == digests
    assert config["config"] == {"Cmd": ["x"]}
