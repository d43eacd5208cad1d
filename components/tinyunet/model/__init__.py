"""The network, its losses and its metrics: pure functions, no I/O."""
