"""MPIJobs on Kubernetes: build the manifest, create the job, follow it and report its outcome."""
