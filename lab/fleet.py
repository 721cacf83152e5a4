"""All components of one lab, and stopping them in the order in which nothing undoes what was just done."""

import threading

from lab import cgroups, openbao, processes
from lab.components import ALIASES, NAMES, all_specs
from lab.control import Component
from lab.errors import LabError
from lab.layout import Layout
from lab.processes import Process


class Fleet:
    """`fleet["etcd"]` is a Component; short names such as "apiserver" are understood too."""

    def __init__(self, layout: Layout, gave_up: threading.Event | None = None) -> None:
        self.layout = layout
        self.components = {name: Component(layout, spec, gave_up=gave_up) for name, spec in all_specs(layout).items()}
        bao = self.components["openbao"]

        def unseal() -> None:
            bao.wait_until(lambda: openbao.answers(layout), "answering")
            openbao.unseal(layout)

        bao.after_spawn = unseal

    def __getitem__(self, name: str) -> Component:
        try:
            return self.components[ALIASES.get(name, name)]
        except KeyError:
            raise LabError(f"no component {name!r}; there are {', '.join(NAMES)}") from None

    def problems(self) -> dict[str, str]:
        return {name: problem for name, component in self.components.items() if (problem := component.problem())}

    def stop_node(self) -> None:
        """kubelet first, or it would start again what is ended next; then pods; then containerd, which reaps them."""
        for name in ("kubelet", "kube-proxy"):
            self[name].stop()
        # Through the cgroup, not by containerd: that works the same when containerd is dead or hangs.
        cgroups.kill_members(self.layout.cgroup)
        processes.wait_gone(self._shims(), 2)
        self["containerd"].stop()
        processes.kill(self._shims())

    def _shims(self) -> list[Process]:
        living = processes.marked(self.layout.folder)
        return [found.process for found in living if "containerd-shim" in found.argv[0]]

    def stop_all(self) -> None:
        """Ends every process of the lab, recorded or not."""
        self.stop_node()
        everyone_else = ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "openbao")
        for names in (everyone_else, ("etcd",)):  # the API server takes its leave from etcd
            running = [process for name in names if (process := self[name].process)]
            processes.stop(running, grace=5)
        processes.kill([found.process for found in processes.marked(self.layout.folder)])
