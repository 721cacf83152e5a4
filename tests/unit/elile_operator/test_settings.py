"""Every setting has a default, a flag and a variable, and durations are what people type."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from elile_operator.settings import EgressAllow, LogFormat, LogLevel, Scope, Settings

# Each setting with its default, and a text with what it means.
CASES: dict[str, tuple[Any, str, Any]] = {
    "kubeconfig": (None, "/etc/kubeconfig", Path("/etc/kubeconfig")),
    "context": (None, "lab", "lab"),
    "service_account_folder": (Path("/var/run/secrets/kubernetes.io/serviceaccount"), "/sa", Path("/sa")),
    "namespace": (None, "own", "own"),
    "scope": (Scope.NAMESPACES, "cluster", Scope.CLUSTER),
    "account": ("elile-operator", "other", "other"),
    "leader_election": (True, "false", False),
    "workers": (16, "3", 3),
    "pollers": (16, "3", 3),
    "rotations": (16, "3", 3),
    "rotations_per_target": (4, "3", 3),
    "egress_allow": (
        (),
        '[{"cidr": "10.0.0.0/8", "ports": [5432]}, {"host": "mail.example", "ports": [443], "namespaces": ["shop"]}]',
        (
            EgressAllow(cidr="10.0.0.0/8", ports=(5432,)),
            EgressAllow(host="mail.example", ports=(443,), namespaces=("shop",)),
        ),
    ),
    "resync": (timedelta(minutes=10), "90", timedelta(seconds=90)),
    "reconcile_deadline": (timedelta(minutes=2), "90", timedelta(seconds=90)),
    "standby_lag": (timedelta(minutes=10), "90", timedelta(seconds=90)),
    "api_timeout": (timedelta(seconds=10), "2.5", timedelta(seconds=2.5)),
    "probe_host": ("127.0.0.1", "10.0.0.1", "10.0.0.1"),
    "probe_port": (8080, "0", 0),
    "hint_port": (None, "0", 0),
    "hint_host": ("127.0.0.1", "0.0.0.0", "0.0.0.0"),  # noqa: S104 - a text
    "hint_certificate": (None, "/hints/tls.crt", Path("/hints/tls.crt")),
    "hint_key": (None, "/hints/tls.key", Path("/hints/tls.key")),
    "hint_tokens": (None, "/hints/tokens", Path("/hints/tokens")),
    "log_level": (LogLevel.INFO, "debug", LogLevel.DEBUG),
    "log_format": (LogFormat.JSON, "console", LogFormat.CONSOLE),
}


def test_no_setting_is_forgotten_here() -> None:
    assert set(CASES) == set(Settings.model_fields)


@pytest.mark.parametrize("name", CASES)
def test_a_setting_by_default_flag_and_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    default, text, value = CASES[name]
    assert getattr(Settings(_cli_parse_args=[]), name) == default
    assert getattr(Settings(_cli_parse_args=[f"--{name.replace('_', '-')}", text]), name) == value
    monkeypatch.setenv(f"ELILE_{name.upper()}", text)
    assert getattr(Settings(_cli_parse_args=[]), name) == value


@pytest.mark.parametrize("name", CASES)
def test_a_setting_is_described(name: str) -> None:
    description = Settings.model_fields[name].description
    assert description is not None
    assert description.endswith(".")


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("workers", "0"),
        ("workers", "257"),
        ("pollers", "0"),
        ("pollers", "257"),
        ("rotations", "0"),
        ("rotations", "129"),
        ("rotations-per-target", "0"),
        ("rotations-per-target", "129"),
        ("egress-allow", "everywhere"),
        ("egress-allow", '[{"cidr": "10.0.0.0/8"}]'),
        ("egress-allow", '[{"cidr": "10.0.0.0/8", "ports": [1], "port": 2}]'),
        ("egress-allow", '[{"ports": [1]}]'),
        ("egress-allow", '[{"cidr": "10.0.0.0/8", "host": "db", "ports": [1]}]'),
        ("egress-allow", '[{"cidr": "10.0.0.1/8", "ports": [1]}]'),
        ("egress-allow", '[{"host": "db", "ports": []}]'),
        ("egress-allow", '[{"host": "db", "ports": [65536]}]'),
        ("reconcile-deadline", "9"),
        ("api-timeout", "0.9"),
        ("probe-port", "-1"),
        ("probe-port", "65536"),
        ("hint-port", "-1"),
        ("hint-port", "65536"),
        ("namespace", "n" * 64),
        ("account", "a" * 254),
        ("log-format", "xml"),
        ("leader-election", "maybe"),
    ],
)
def test_what_is_out_of_bounds_is_refused(flag: str, text: str) -> None:
    with pytest.raises(ValidationError):
        Settings(_cli_parse_args=[f"--{flag}={text}"])


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings(_cli_parse_args=[]).workers = 1


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("10.5", 10.5), ("PT1M30S", 90), ("00:01:30", 90), ("PT10M", 600)]
)
def test_a_duration_is_seconds_or_iso_8601(text: str, seconds: float) -> None:
    assert Settings(_cli_parse_args=["--resync", text]).resync == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["5", "soon", "10 minutes", "nan", "inf", "-60"])
def test_another_text_or_too_short_a_time_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Settings(_cli_parse_args=["--resync", text])


def test_the_environment_is_read_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELILE_RESYNC", "90")
    assert Settings(_cli_parse_args=[]).resync == timedelta(seconds=90)
