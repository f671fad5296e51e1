"""Strategies, clusters and shares of a batch for several devices and hosts."""
