"""Distributed training: strategies, clusters, and shares of batches."""
