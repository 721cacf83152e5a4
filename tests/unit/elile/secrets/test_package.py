"""The package itself: what an import costs, which names it has, and an application that is called elile as well."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import elile.secrets

SOURCE = Path(elile.secrets.__file__)
ROOT = SOURCE.parents[2]


def python(code: str, *paths: Path) -> str:
    """Run code in a Python of its own, with the library on its path after `paths`."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(map(str, (*paths, ROOT)))},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_the_import_loads_nothing_of_others() -> None:
    code = (
        "import sys; before = set(sys.modules); import elile.secrets; "
        "print(sorted(m for m in set(sys.modules) - before if m.split('.')[0] not in sys.stdlib_module_names))"
    )
    assert python(code) == "['elile', 'elile.secrets']"


def test_every_name_is_where_it_is_said_to_be() -> None:
    for name in elile.secrets.__all__:
        assert getattr(elile.secrets, name).__name__ == name
    assert set(elile.secrets.__all__) <= set(dir(elile.secrets))


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(SOURCE.read_text())
    (checking,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = [alias.asname for node in checking.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(map(str, seen)) == sorted(elile.secrets.__all__)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match=r"module .elile\.secrets. has no attribute .Nothing."):
        _ = elile.secrets.Nothing  # type: ignore[attr-defined] # which is the point


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """An application with a regular package of the name, and a module in it."""
    package = tmp_path / "elile"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "billing.py").write_text("NAME = 'billing'\n")
    return tmp_path


def test_a_regular_package_of_the_name_hides_the_library(application: Path) -> None:
    assert "No module named 'elile.secrets'" in python("import elile.secrets", application)


def test_the_cure_that_the_docs_give(application: Path) -> None:
    cure = '__path__ = __import__("pkgutil").extend_path(__path__, __name__)\n'
    (application / "elile" / "__init__.py").write_text(cure)
    code = "import elile.billing, elile.secrets; print(elile.billing.NAME, elile.secrets.SecretStr('x'))"
    assert python(code, application) == "billing ***"
    # The docs name this very line.
    assert cure.strip() in (ROOT.parent / "docs" / "client" / "install.md").read_text()


def test_two_parts_without_an_init_live_beside_each_other(application: Path) -> None:
    (application / "elile" / "__init__.py").unlink()
    code = "import elile.billing, elile.secrets; print(elile.billing.NAME, elile.secrets.SecretStr('x'))"
    assert python(code, application) == "billing ***"
