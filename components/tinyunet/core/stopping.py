"""How a training is asked to stop, and the exit codes with which the ranks of a job say why they stopped."""

import signal

# mpirun forwards SIGUSR2 to the ranks and waits for them. On SIGTERM and SIGINT it kills them.
STOP_SIGNAL = signal.SIGUSR2
STOPPED_BY_SIGNAL = 128 + STOP_SIGNAL  # Kubernetes ends the pods of a job with this signal
ABANDONED = 75  # EX_TEMPFAIL of sysexits.h: nobody renews the lease of the job, a later start resumes
