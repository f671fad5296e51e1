"""Students that begin with weights of a network that was trained before."""
