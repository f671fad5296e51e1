"""Modules that commands run in worker processes."""
