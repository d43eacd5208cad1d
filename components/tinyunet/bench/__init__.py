"""Measure this machine, and what to expect of others."""
