"""Command lines and configuration: everything within the lab's folder, addresses and ports, and nothing in the open."""

import json
import re
from pathlib import Path

import pytest

from lab import components, configs, pki
from lab.components import ALIASES, NAMES, all_specs
from lab.layout import Layout


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = Layout("unit", tmp_path_factory.mktemp("lab"), slot=7)
    pki.create(layout)
    return layout


@pytest.fixture(scope="module")
def files(layout: Layout) -> dict[Path, str]:
    return configs.all_files(layout, Path("/cni"))


def test_every_component_is_there_and_aliases_lead_to_one(layout: Layout) -> None:
    assert set(all_specs(layout)) == set(NAMES)
    assert set(ALIASES.values()) <= set(NAMES)
    assert not set(ALIASES) & set(NAMES)


def test_every_address_is_the_labs_own(layout: Layout, files: dict[Path, str]) -> None:
    text = "\n".join([*files.values(), *(" ".join(spec.argv) for spec in all_specs(layout).values())])
    addresses = set(re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", text))
    foreign = {a for a in addresses if a != "127.0.0.1" and not a.startswith("10.192.")}
    assert foreign == {"0.0.0.0"}  # noqa: S104  # the pods' default route; nothing listens there
    assert all("0.0.0.0" not in " ".join(spec.argv) for spec in all_specs(layout).values())  # noqa: S104


def test_every_port_on_the_machine_is_of_the_slot(layout: Layout) -> None:
    for spec in all_specs(layout).values():
        if not spec.in_node:  # the node has all ports of its network namespace to itself
            flags = " ".join(spec.argv)
            ports = {int(p) for p in re.findall(r":(\d{4,5})\b|-port=(\d+)", flags) for p in p if p}
            assert ports <= set(layout.ports), spec.name


def test_every_path_written_is_in_the_labs_folder(layout: Layout, files: dict[Path, str]) -> None:
    assert all(layout.folder in path.parents for path in files)
    for spec in all_specs(layout).values():
        for flag in spec.argv[1:]:
            value = flag.partition("=")[2] or flag
            if value.startswith("/"):
                assert value.startswith(str(layout.folder)), flag


def test_probes_ask_where_the_component_listens(layout: Layout) -> None:
    for spec in all_specs(layout).values():
        if spec.probe.socket is None:
            assert re.search(
                r"127\.0\.0\.1|" + re.escape(layout.gateway) + "|" + re.escape(layout.node_address), spec.probe.url
            )


def test_kubeconfigs_for_people_use_loopback_and_the_node_the_bridge(layout: Layout, files: dict[Path, str]) -> None:
    def server(path: Path) -> str:
        found: str = json.loads(files[path])["clusters"][0]["cluster"]["server"]
        return found

    assert server(layout.kubeconfig) == layout.api_url == f"https://127.0.0.1:{layout.port('apiserver')}"
    assert server(layout.etc / "kubelet.kubeconfig") == layout.api_url_on_bridge


def test_kubelet_keeps_the_defaults_that_tests_measure(files: dict[Path, str], layout: Layout) -> None:
    kubelet = json.loads(files[layout.etc / "kubelet.json"])
    assert not {"syncFrequency", "configMapAndSecretChangeDetectionStrategy", "nodeStatusUpdateFrequency"} & set(
        kubelet
    )
    assert kubelet["cgroupRoot"] == f"/{layout.cgroup}"


def test_openbao_listens_twice_and_declares_its_audit_device(files: dict[Path, str], layout: Layout) -> None:
    bao = json.loads(files[layout.etc / "openbao.json"])
    listeners = [listener["tcp"]["address"] for listener in bao["listener"]]
    assert listeners == [f"127.0.0.1:{layout.port('openbao')}", f"{layout.gateway}:{layout.port('openbao')}"]
    device = bao["audit"][0]["file"]["file"]
    assert device["options"] == {"file_path": str(layout.openbao_audit)}
    assert len(device) > 1  # its parser needs a second key


def test_booleans_are_written_as_flags_want_them() -> None:
    assert components._text(True) == "true"
    assert components._text(5) == "5"
