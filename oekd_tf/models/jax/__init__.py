"""The part of an ensemble that is JAX's."""
