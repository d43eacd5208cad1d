"""Tools for this machine: checks of the installation, local services."""
