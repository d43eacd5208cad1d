"""The network, its losses and its metrics: functions without input or output of files."""
