"""The suite for a real account, on the server of ours: so that it runs when somebody has an account to run it on."""

import os
import subprocess
import sys
from pathlib import Path

from elile.secrets.redact import SecretStr
from elile.secrets.testing.aws import FakeAWSServer

ROOT = Path(__file__).parents[2]


def test_the_suite_for_an_account_passes_on_the_server_of_ours() -> None:
    with FakeAWSServer() as server:
        login = server.login()
        secret: SecretStr = login["secret_access_key"]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTEST_"))},
            "AWS_ACCESS_KEY_ID": login["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": secret.reveal(),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": server.url,
            "ELILE_TEST_AWS_REGION": login["region"],
        }
        suite = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/account/aws_suite.py"]
        ended = subprocess.run(suite, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 0, ended.stdout[-4000:]
        assert " passed" in ended.stdout
        assert not any(server._store.secrets), "it leaves nothing behind"
