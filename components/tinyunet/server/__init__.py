"""The inspection server: HTTP, gRPC, batches and the lifecycle. TensorFlow is never imported here."""
