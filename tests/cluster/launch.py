"""Launcher of one MPIJob, `launch.py '{"name": …}'`: a process that tests can signal and kill."""

import json
import sys

from tinyunet.mpijob.run import run_mpijob
from tinyunet.mpijob.spec import MPIJobSpec, WorkerPods
from tinyunet.mpijob.status import JobFailed

if __name__ == "__main__":
    values = json.loads(sys.argv[1])
    values["pods"] = WorkerPods(**values["pods"])
    try:
        run_mpijob(MPIJobSpec(**values), log=lambda line: print(line, flush=True))
    except JobFailed as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
