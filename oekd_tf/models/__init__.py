"""The branched networks, and how they are trained a step."""
