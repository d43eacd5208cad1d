"""The network of an engine folder: what is left after a model has been replaced."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, signal, sys, threading
from pathlib import Path
from tinyunet.engine.engine import Engine

models = [Engine(Path(sys.argv[1]))]
thread = threading.Thread(target=models.clear)
thread.start()
thread.join()
signal.signal(signal.SIGTERM, lambda *_: print("received"))
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_is_received_after_another_thread_has_released_the_model(engine_folder: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(engine_folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "received\n")
