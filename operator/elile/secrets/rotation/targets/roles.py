"""What the roles of a PostgreSQL server have to be for a rotation, and the SQL for what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass

from elile.secrets.rotation.drivers.postgresql import PostgreSQLSession, identifier
from elile.secrets.rotation.verify.postgresql import acts_as

__all__ = ["Administrator", "Role", "Roles", "problem", "read_roles"]

ADMIN_OPTION_SINCE = 160000  # before it, whoever has CREATEROLE may change every role that is no superuser

_ADMINISTRATOR = """
SELECT current_user, rolsuper, rolcreaterole, CAST(pg_catalog.current_setting('server_version_num') AS pg_catalog.int4)
FROM pg_catalog.pg_roles WHERE rolname = current_user
"""
_ROLE = """
SELECT rolcanlogin, rolsuper OR rolreplication OR rolbypassrls, COALESCE(rolvaliduntil < pg_catalog.now(), false),
  pg_catalog.has_database_privilege(oid, pg_catalog.current_database(), 'CONNECT'),
  pg_catalog.pg_has_role(current_user, oid, 'MEMBER WITH ADMIN OPTION')
FROM pg_catalog.pg_roles WHERE rolname = :name
"""
_GROUPS = """
SELECT g.rolname FROM pg_catalog.pg_roles g, pg_catalog.pg_roles r
WHERE r.rolname = :name AND NOT g.rolcanlogin AND g.oid <> r.oid AND g.rolname NOT LIKE 'pg\\_%'
  AND pg_catalog.pg_has_role(r.oid, g.oid, :how)
ORDER BY 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A login. `groups` are the roles without a login that it may act as, `role` is the one that it does act as.

    powerful: a superuser, or one with REPLICATION or BYPASSRLS. owned: the administrator has its ADMIN OPTION.
    """

    can_login: bool = True
    powerful: bool = False
    expired: bool = False
    connects: bool = True
    owned: bool = True
    role: str | None = None
    groups: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Administrator:
    """Who changes them. `version` is the server's, such as 150004."""

    name: str
    superuser: bool = False
    creates_roles: bool = True
    version: int = 150000


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """What was found; None is a role that does not exist."""

    administrator: Administrator
    found: dict[str, Role | None]
    database: str


def read_roles(session: PostgreSQLSession, users: Sequence[str], database: str) -> Roles:
    """Look at users as the administrator, in a transaction whose search path is the system's."""
    name, superuser, creates_roles, version = session.run(_ADMINISTRATOR)[0]
    how = "SET" if version >= ADMIN_OPTION_SINCE else "MEMBER"
    found: dict[str, Role | None] = {}
    for user in users:
        rows = session.run(_ROLE, name=user)
        if not rows:
            found[user] = None
            continue
        can_login, powerful, expired, connects, owned = rows[0]
        found[user] = Role(
            can_login=can_login,
            powerful=powerful,
            expired=expired,
            connects=connects,
            owned=owned,
            role=acts_as(session, user),
            groups=[str(row[0]) for row in session.run(_GROUPS, name=user, how=how)],
        )
    administrator = Administrator(name=name, superuser=superuser, creates_roles=creates_roles, version=version)
    return Roles(administrator=administrator, found=found, database=database)


def problem(seen: Roles, *, current: str, owner: str | None) -> str:
    """Return what is wrong first, with the SQL that mends it; empty when nothing is. `owner` None: to be found."""
    return (
        _missing(seen, owner)
        or _of_each(seen, current)
        or (_shared(seen, owner) if len(seen.found) > 1 else "")
        or _administration(seen)
    )


def _missing(seen: Roles, owner: str | None) -> str:
    absent = [name for name, role in seen.found.items() if role is None]
    if not absent:
        return ""
    share = owner or next((role.role or min(role.groups, default=None) for role in seen.found.values() if role), None)
    sql = "; ".join(f"CREATE ROLE {identifier(name)} NOLOGIN" for name in absent)
    if len(seen.found) > 1:
        named = identifier(share) if share else "<owner>"
        sql += "".join(
            f"; GRANT {named} TO {identifier(name)}; ALTER ROLE {identifier(name)} SET role TO {named}"
            for name in absent
        )
    return f"there is no role {' and '.join(map(repr, absent))}, and Elile makes none: {sql}"


def _of_each(seen: Roles, current: str) -> str:
    for name, role in _there(seen):
        if role.powerful and not seen.administrator.superuser:
            return (
                f"{name!r} is a superuser, or has REPLICATION or BYPASSRLS, which only a superuser may change: "
                f"ALTER ROLE {identifier(name)} NOSUPERUSER NOREPLICATION NOBYPASSRLS"
            )
        if role.expired:
            return f"{name!r} is past its VALID UNTIL: ALTER ROLE {identifier(name)} VALID UNTIL 'infinity'"
        if not role.connects:
            database = identifier(seen.database)
            return (
                f"{name!r} may not connect to {seen.database!r}: GRANT CONNECT ON DATABASE {database} TO "
                f"{identifier(name)}"
            )
        if name == current and not role.can_login:
            return f"{name!r} is in use and may not log in: ALTER ROLE {identifier(name)} LOGIN"
    return ""


def _shared(seen: Roles, owner: str | None) -> str:
    """Look whether what either of them makes belongs to the same role: else the next user cannot change it."""
    there = _there(seen)
    common = sorted(set.intersection(*(set(role.groups) for _, role in there)))
    chosen = owner or next((role.role for _, role in there if role.role is not None), None)
    if chosen is None:
        names = [identifier(name) for name, _ in there]
        if len(common) > 1:
            return f"{' and '.join(names)} share the roles {', '.join(map(repr, common))}: name one of them as owner"
        chosen = common[0] if common else None
    if chosen is None:
        grants = f"GRANT <owner> TO {', '.join(identifier(name) for name, _ in there)}"
        settings = "; ".join(f"ALTER ROLE {identifier(name)} SET role TO <owner>" for name, _ in there)
        return (
            f"{' and '.join(repr(name) for name, _ in there)} share no role without a login, to which all that they "
            f"make belongs: CREATE ROLE <owner> NOLOGIN; {grants}; {settings}"
        )
    for name, role in there:
        if chosen not in role.groups:
            return (
                f"{name!r} may not act as {chosen!r}, or that has a login: ALTER ROLE {identifier(chosen)} NOLOGIN; "
                f"GRANT {identifier(chosen)} TO {identifier(name)}"
            )
        if role.role != chosen:
            return (
                f"{name!r} does not act as {chosen!r} when it logs in: ALTER ROLE {identifier(name)} SET role TO "
                f"{identifier(chosen)}"
            )
    return ""


def _administration(seen: Roles) -> str:
    who = seen.administrator
    if who.superuser:
        return ""
    if not who.creates_roles:
        return f"{who.name!r} may not change roles: ALTER ROLE {identifier(who.name)} CREATEROLE"
    if who.version >= ADMIN_OPTION_SINCE:
        for name, role in _there(seen):
            if not role.owned:
                return (
                    f"{who.name!r} may not change {name!r}: GRANT {identifier(name)} TO {identifier(who.name)} WITH "
                    "ADMIN OPTION"
                )
    return ""


def _there(seen: Roles) -> list[tuple[str, Role]]:
    return [(name, role) for name, role in seen.found.items() if role is not None]
