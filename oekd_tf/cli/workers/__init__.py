"""Processes that other commands start."""
