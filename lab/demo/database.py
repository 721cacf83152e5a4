"""The PostgreSQL server of the demo: where pods reach it, with two users of one application and their steward."""

import json
import shutil
import tempfile
from pathlib import Path

from lab.demo.stage import EXAMPLES, SHOP, Stage
from lab.postgresql import HBA, SETTINGS, PostgreSQL

# Of the ports that the lab leaves to others.
PORT = 1


class Database:
    """One server. Its folder is outside of the lab's, which the server's user may not be able to reach."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._note = stage.folder / "database"

    @property
    def host(self) -> str:
        return self._stage.lab.gateway

    @property
    def port(self) -> int:
        return self._stage.lab.spare_ports[PORT]

    @property
    def egress(self) -> str:
        """What the operator is allowed to connect to, as its setting has it."""
        return json.dumps([{"cidr": f"{self.host}/32", "ports": [self.port], "namespaces": [SHOP]}])

    def start(self, steward: str, first: str) -> None:
        """Start an empty server and make the users, as its administrator does, with these passwords."""
        folder = Path(tempfile.mkdtemp(prefix="elile-demo-"))
        folder.chmod(0o711)
        self._stage.folder.mkdir(exist_ok=True)
        self._note.write_text(str(folder))
        server = PostgreSQL(
            folder / "server",
            port=self.port,
            tls=self._stage.lab.issue_certificate("demo-database", [self.host]),
            settings={**SETTINGS, "listen_addresses": f"127.0.0.1,{self.host}"},
            hba=HBA + "hostssl all all all scram-sha-256\n",
            echo=lambda _line: None,
        )
        server.start()
        passwords = f"\\set steward '{steward}'\n\\set first '{first}'\n"
        server.sql("CREATE DATABASE orders")
        server.sql(passwords + (EXAMPLES / "rotation" / "users.sql").read_text(), database="orders")

    def stop(self) -> None:
        """Stop it, if it runs, and remove what it has."""
        if not self._note.exists():
            return
        folder = Path(self._note.read_text())
        self._note.unlink()
        if folder.exists():
            PostgreSQL(folder / "server", port=self.port, echo=lambda _line: None).stop()
            shutil.rmtree(folder)
