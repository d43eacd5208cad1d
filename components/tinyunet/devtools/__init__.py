"""Tools for a developer's machine: checks of the installation, and local services."""
