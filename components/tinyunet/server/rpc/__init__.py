"""The server's gRPC: the service of the Open Inference Protocol v2."""
