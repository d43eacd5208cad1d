"""The checks of a run's services when they are interrupted."""

import subprocess
import sys

# A process keeps its output open until it ends.
PROGRAM = """
import time
from tinyunet.tracking import server
from tinyunet.launch.preconditions import check_services

def hang(uri):
    print("checking", flush=True)
    time.sleep(60)

server.require_server = hang
check_services("/tmp/model")
"""


def test_sigterm_ends_a_check_of_a_server_that_does_not_answer_at_once() -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "checking\n"
        process.terminate()
        assert process.communicate(timeout=5) == ("", None)
