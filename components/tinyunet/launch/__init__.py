"""Start the ranks of a training: in this process, by mpirun, or as an MPIJob."""
