"""What methods are made of: the base class, what it is given, losses and metrics."""
