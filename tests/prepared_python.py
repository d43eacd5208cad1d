"""A Python whose processes have TensorFlow, MLflow and KFP imported from their start.

The import of these packages costs more than a tiny training. A server imports them once. The program `python`
that `serving` writes accepts `-m MODULE …` and `-c CODE …`, also under mpirun and as the interpreter of KFP's
steps. It sends its arguments, environment, working folder and standard streams to the server, which forks a
process for it. The program passes signals on to that process and ends as that process ends. If the program is
killed, the server kills the process. Tests of signals to a process group and of the start of an interpreter
use `sys.executable`, and so does one complete run of the pipeline.
"""

import atexit
import contextlib
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

PACKAGES = ("mlflow", "kfp.dsl.executor_main", "horovod.tensorflow", "keras")
MODULES = (
    "tinyunet.cli.main",
    "tinyunet.launch.rank",
    "tinyunet.tracking.tracker",
    "tinyunet.training.loop",
    "tinyunet.evaluation.evaluate",
    "tinyunet.registry.register",
    "mlflow.store.tracking.sqlalchemy_store",  # of a database that no server stands before
    "mlflow.store.model_registry.sqlalchemy_store",
)
EAGER = "PREPARED_PYTHON_EAGER"  # a process with this environment variable builds no graphs
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
CLIENT = """\
#!{python} -ISE
import json, os, signal, socket, sys

pid, early = 0, []

def forward(number, frame):
    os.kill(pid, number) if pid else early.append(number)

for number in {signals}:
    signal.signal(number, forward)
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
server.sendall(request)
pid = int.from_bytes(server.recv(8), "big")
for number in early:
    os.kill(pid, number)
code = int(server.recv(8))
if code < 0:
    if code != -signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@contextlib.contextmanager
def serving(folder: Path, variables: Mapping[str, str] | None = None) -> Iterator[str]:
    """Start the server, with more environment variables; yield the path of the program."""
    program, address = folder / "python", str(folder / "socket")
    signals = tuple(map(int, SIGNALS))
    program.write_text(CLIENT.format(python=sys.executable, address=address, signals=signals))
    program.chmod(0o755)
    command = [sys.executable, __file__, address, str(program)]
    env = os.environ | (variables or {})
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as server:
        try:
            assert server.stdout
            assert server.stdout.readline() == b"ready\n", "the server of prepared processes has not started"
            yield str(program)
        finally:
            server.terminate()


def serve(address: str, program: str) -> None:
    """Import the packages, and fork one process for each connection until SIGTERM."""
    from tinyunet.core.tensorflow_import import import_tensorflow

    import_tensorflow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in (*PACKAGES, *MODULES):
            __import__(name)
        sys.modules["sqlalchemy.orm"].configure_mappers()
    gc.freeze()  # a garbage collection in a forked process leaves the imported modules out
    sys.executable = program
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)
        while True:
            _accept(listener)


def _accept(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    size, streams, _, _ = socket.recv_fds(connection, 8, 3)
    with connection.makefile("rb") as file:
        arguments, folder, environment = json.loads(file.read(int.from_bytes(size, "big")))
    pid = os.fork()
    if pid == 0:
        listener.close()
        connection.close()
        _take_place_of(folder, environment, streams)
        _end(_exit_code(arguments))
    for stream in streams:
        os.close(stream)
    with contextlib.suppress(OSError):  # the program has ended already
        connection.sendall(pid.to_bytes(8, "big"))
    threading.Thread(target=_follow, args=(connection, pid), daemon=True).start()


def _follow(connection: socket.socket, pid: int) -> None:
    """Report the end of a process to its program; kill the process if the program has ended."""

    def kill_with_program() -> None:
        with contextlib.suppress(OSError):
            if connection.recv(1) == b"":
                os.kill(pid, signal.SIGKILL)

    threading.Thread(target=kill_with_program, daemon=True).start()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(OSError):
        connection.sendall(str(code).encode())
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def _take_place_of(folder: str, environment: dict[str, str], streams: list[int]) -> None:
    """Give this new process the folder, the environment and the standard streams of its program."""
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # it depends on the environment
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=bool(environment.get("PYTHONUNBUFFERED")))
    sys.path[:0] = ["", *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    if EAGER in environment:
        sys.modules["tensorflow"].config.run_functions_eagerly(True)


def _exit_code(arguments: list[str]) -> int:
    """Run the program of `-m MODULE …` or `-c CODE …`; return its exit code."""
    option, name, *rest = arguments
    sys.argv = [option, *rest]
    try:
        if option == "-m":
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        else:
            exec(compile(name, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def _end(code: int) -> NoReturn:
    """End this process as an interpreter does, but without the slow deletion of all modules."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.path.pop(0)
    serve(*sys.argv[1:])
