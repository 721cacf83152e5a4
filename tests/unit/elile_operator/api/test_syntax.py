import pytest

from elile_operator.api.rules import Rule
from elile_operator.api.syntax import (
    RESOLVED,
    dns_label,
    dns_subdomain,
    is_secret_key,
    key_or_pointer,
    login_namespace,
    role_name,
    vault_namespace,
    vault_path,
)


def holds(rules: tuple[Rule, ...], value: str) -> bool:
    return all(rule.holds(value) for rule in rules)


@pytest.mark.parametrize(
    "path", ["a", "a/b", "data/a", "a b/c", "a..b/.c/...", "größe", "a$b", "a+b", "user@example.com"]
)
def test_paths(path: str) -> None:
    assert holds(vault_path("f"), path)


@pytest.mark.parametrize(
    "path",
    ["/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "%2e%2e/a", "a*", "a?b", "a#b", r"a\..\b", "a\nb", "a\x00",
     "a\x7f", "a\x85", "a\u200b", "a\u2028", "\u202ea", "\ufeffa", "${namespace}/a", "${a"],
)  # fmt: skip
def test_what_is_no_path(path: str) -> None:
    assert not holds(vault_path("f"), path)


def test_a_path_of_defaults_may_hold_the_namespace_and_nothing_like_it() -> None:
    assert holds(vault_path("f", RESOLVED), "teams/${namespace}/a")
    assert not holds(vault_path("f", RESOLVED), "teams/${name}/a")
    assert not holds(vault_path("f", RESOLVED), "teams/${namespace}/")


@pytest.mark.parametrize("name", ["a", "team-a/web", "Team.A", "roots", "a/my-sys", "authors"])
def test_namespaces_of_vault(name: str) -> None:
    assert holds(vault_namespace("f"), name)
    assert holds(login_namespace("f"), name)


@pytest.mark.parametrize(
    "name",
    ["/a", "a/", "a//b", "..", "a b", "größe", "a\nX-Vault-Token: b", "sys", "a/auth", "cubbyhole/a", "identity",
     "audit/a", "root/a", "a/root", "a/root/b", "${namespace}", "a%2fb"],
)  # fmt: skip
def test_what_is_no_namespace_of_vault(name: str) -> None:
    assert not holds(vault_namespace("f"), name)
    assert not holds(login_namespace("f"), name)


def test_only_a_login_names_the_root_namespace() -> None:
    assert holds(login_namespace("f"), "root")
    assert not holds(vault_namespace("f"), "root")


@pytest.mark.parametrize("key", ["a", "db_password", "ca.crt", ".pgpass", "-", "a" * 253])
def test_keys_of_secrets(key: str) -> None:
    assert is_secret_key(key)


@pytest.mark.parametrize("key", ["", ".", "..", "..data", "a/b", "a b", "ä", "a\n", "a" * 254])
def test_what_is_no_key_of_a_secret(key: str) -> None:
    assert not is_secret_key(key)


@pytest.mark.parametrize("text", ["a", "my key", "a/b", "~", "/a", "/a/b", "/a~1b/~0", "/", "//"])
def test_keys_and_pointers(text: str) -> None:
    assert key_or_pointer("f").holds(text)


@pytest.mark.parametrize("text", ["", "/a~", "/a~2", "a\nb", "/a\nb", "\x7f"])
def test_what_is_no_key_or_pointer(text: str) -> None:
    assert not key_or_pointer("f").holds(text)


@pytest.mark.parametrize(
    ("rule", "kept", "broken"),
    [
        pytest.param(dns_label("f"), ["a", "a-1"], ["", "A", "-a", "a-", "a.b"], id="label"),
        pytest.param(dns_subdomain("f"), ["a", "a.b-c"], ["", "A", ".a", "a..b", "a_b", "a/b"], id="subdomain"),
        pytest.param(
            dns_subdomain("f", RESOLVED),
            ["${namespace}", "a-${namespace}"],
            ["${name}", "${namespace}-"],
            id="with namespace",
        ),
        pytest.param(role_name("f"), ["a", "A_b.c-d"], ["", "a/b", "a b", "${namespace}"], id="role"),
    ],
)
def test_names(rule: Rule, kept: list[str], broken: list[str]) -> None:
    assert all(rule.holds(text) for text in kept)
    assert not any(rule.holds(text) for text in broken)
