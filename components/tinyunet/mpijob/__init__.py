"""MPIJobs on Kubernetes: built, started, followed, explained."""
