"""The shell scripts in the containers of an MPIJob."""

from typing import Any

# The sessions of sshd do not inherit its environment. SetEnv passes on the image's search paths and revision,
# and KUBERNETES_SERVICE_HOST, by which a program detects that it runs in a pod.
SSHD = """\
for name in PATH LD_LIBRARY_PATH OPAL_PREFIX TINYUNET_GIT_REVISION TINYUNET_LOCK_DIGEST \\
  KUBERNETES_SERVICE_HOST; do
  value=$(printenv $name) && kept="$kept $name=$value"
done
exec /usr/sbin/sshd -D -e -f /etc/ssh/sshd_mpi_config -o "SetEnv=$kept"
"""

# A launcher runs this before its command. The names of workers that are not ready do not exist in DNS, and
# mpirun does not repeat the look-up. A signal (see below) ends the pod, since there is nothing to save yet.
# An image of several GB is pulled meanwhile, so that the wait is long.
WAIT_FOR_WORKERS = """\
trap 'exit 140' USR2
answer() {
  until ssh -o ConnectTimeout=5 $1 true 2>/dev/null; do
    [ $(date +%s) -lt $end ] || fail $1
    sleep 1
  done
}
fail() { ssh -o ConnectTimeout=5 $1 true; echo "worker $1 does not answer by ssh" >&2; exit 1; }
end=$(($(date +%s) + 3600))
for host in $(cut -d' ' -f1 /etc/mpi/hostfile); do answer $host & waits="$waits $!"; done
for one in $waits; do wait $one || exit 1; done
exec "$@"
"""

# Kubernetes runs these scripts before it ends a pod: when the job is deleted, suspended by a queue or at its
# deadline, and when a node is drained. The ranks then save a checkpoint and end, within GRACE_SECONDS.
# mpirun forwards the signal to the ranks. A pod of which only a worker is removed signals its own ranks, and
# all ranks stop after the same step. A rank ignores this signal when it comes again.
GRACE_SECONDS = 60
STOP_LAUNCHER = "kill -USR2 1; while kill -0 1; do sleep 0.2; done"
STOP_WORKER = """\
ranks() { grep -ls OMPI_COMM_WORLD_RANK= /proc/[0-9]*/environ | cut -d/ -f3; }
kill -USR2 $(ranks)
while [ -n "$(ranks)" ]; do sleep 0.2; done
"""


def before_the_end(script: str) -> dict[str, Any]:
    """Return the `lifecycle` of a container that runs a shell script before Kubernetes ends it."""
    return {"preStop": {"exec": {"command": ["/bin/sh", "-c", script]}}}
