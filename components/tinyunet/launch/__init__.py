"""The launchers of a training: one process, mpirun, or an MPIJob."""
