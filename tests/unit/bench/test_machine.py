"""What a run was made on is read from the kernel's texts."""

from bench.machine import cpu_model, found, machine, memory_gib, versions

CPUINFO = "processor\t: 0\nmodel name\t: Some(R) Processor 2.1\nflags\t\t: fpu\n\nprocessor\t: 1\n"


def test_texts_of_the_kernel() -> None:
    assert cpu_model(CPUINFO) == "Some(R) Processor 2.1"
    assert cpu_model("Features : fp asimd\n") == "unknown"
    assert memory_gib("MemFree: 1 kB\nMemTotal:       25165824 kB\n") == 24


def test_versions_are_found_in_what_programs_say() -> None:
    assert found("OpenBao v2.7.2 (abc), built", r"v(\d+\.\d+\.\d+)") == "2.7.2"
    assert found("", r"v(\d+)") == "unknown"


def test_everything_is_known_here() -> None:
    known = versions()
    assert {known[name] for name in ("OpenBao", "Kubernetes", "Python", "kopf")}.isdisjoint({"", "unknown"})
    assert set(machine()) == {"cores", "memory", "processor", "kernel"}
