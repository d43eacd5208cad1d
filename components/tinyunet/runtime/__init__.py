"""The borders: ranks, tracking, object storage, Kubernetes."""
