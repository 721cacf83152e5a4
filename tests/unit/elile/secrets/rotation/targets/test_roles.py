"""What is wrong with the roles of a PostgreSQL server, and the SQL that mends it."""

from dataclasses import replace
from typing import Any

import pytest

from elile.secrets.rotation.targets.roles import Administrator, Role, Roles, problem

GOOD = Role(role="o", groups=["o"])
STEWARD = Administrator(name="s")


def seen(a: Role | None = GOOD, b: Role | None = GOOD, administrator: Administrator = STEWARD) -> Roles:
    return Roles(administrator=administrator, found={"a": a, "b": b}, database="shop")


def good(**changes: Any) -> Role:
    return replace(GOOD, **changes)


SHARED = (
    "'a' and 'b' share no role without a login, to which all that they make belongs: CREATE ROLE <owner> NOLOGIN; "
    'GRANT <owner> TO "a", "b"; ALTER ROLE "a" SET role TO <owner>; ALTER ROLE "b" SET role TO <owner>'
)
ABSENT = (
    'there is no role \'b\', and Elile makes none: CREATE ROLE "b" NOLOGIN; GRANT {0} TO "b"; '
    'ALTER ROLE "b" SET role TO {0}'
)
POWERFUL = (
    "'a' is a superuser, or has REPLICATION or BYPASSRLS, which only a superuser may change: "
    'ALTER ROLE "a" NOSUPERUSER NOREPLICATION NOBYPASSRLS'
)
NO_GRANT = '\'b\' may not act as \'o\', or that has a login: ALTER ROLE "o" NOLOGIN; GRANT "o" TO "b"'


@pytest.mark.parametrize(
    ("roles", "owner", "said"),
    [
        (seen(), None, ""),
        (seen(), "o", ""),
        (seen(b=good(can_login=False)), None, ""),
        (seen(b=None), None, ABSENT.format('"o"')),
        (seen(b=None), "p", ABSENT.format('"p"')),
        (seen(a=good(role=None, groups=["q"]), b=None), None, ABSENT.format('"q"')),
        (seen(a=good(role=None, groups=[]), b=None), None, ABSENT.format("<owner>")),
        (seen(a=good(powerful=True)), None, POWERFUL),
        (seen(a=good(powerful=True), administrator=replace(STEWARD, superuser=True)), None, ""),
        (seen(b=good(expired=True)), None, "'b' is past its VALID UNTIL: ALTER ROLE \"b\" VALID UNTIL 'infinity'"),
        (
            seen(b=good(connects=False)),
            None,
            "'b' may not connect to 'shop': GRANT CONNECT ON DATABASE \"shop\" TO \"b\"",
        ),
        (seen(a=good(can_login=False)), None, "'a' is in use and may not log in: ALTER ROLE \"a\" LOGIN"),
        (seen(b=good(groups=[])), None, NO_GRANT),
        (seen(b=good(groups=[], role=None)), None, NO_GRANT),
        (
            seen(b=good(role=None)),
            None,
            "'b' does not act as 'o' when it logs in: ALTER ROLE \"b\" SET role TO \"o\"",
        ),
        (
            seen(b=good(role="p", groups=["o", "p"])),
            None,
            "'b' does not act as 'o' when it logs in: ALTER ROLE \"b\" SET role TO \"o\"",
        ),
        (
            seen(a=good(role=None), b=good(role=None)),
            None,
            "'a' does not act as 'o' when it logs in: ALTER ROLE \"a\" SET role TO \"o\"",
        ),
        (seen(a=good(role=None, groups=[]), b=good(role=None)), None, SHARED),
        (
            seen(a=good(role=None, groups=["o", "p"]), b=good(role=None, groups=["p", "o"])),
            None,
            "\"a\" and \"b\" share the roles 'o', 'p': name one of them as owner",
        ),
        (
            seen(administrator=replace(STEWARD, creates_roles=False)),
            None,
            "'s' may not change roles: ALTER ROLE \"s\" CREATEROLE",
        ),
        (
            seen(b=good(owned=False), administrator=replace(STEWARD, version=160002)),
            None,
            "'s' may not change 'b': GRANT \"b\" TO \"s\" WITH ADMIN OPTION",
        ),
        (seen(b=good(owned=False), administrator=replace(STEWARD, version=150004)), None, ""),
        (seen(administrator=replace(STEWARD, version=160002)), None, ""),
    ],
)
def test_what_is_wrong_first_is_told_with_the_sql_for_it(roles: Roles, owner: str | None, said: str) -> None:
    assert problem(roles, current="a", owner=owner) == said


def test_one_login_needs_no_owner() -> None:
    one = Roles(administrator=STEWARD, found={"a": Role()}, database="shop")
    assert problem(one, current="a", owner=None) == ""
    gone = replace(one, found={"a": None})
    assert problem(gone, current="a", owner=None) == (
        "there is no role 'a', and Elile makes none: CREATE ROLE \"a\" NOLOGIN"
    )
