"""What follows from a search space: polytopes, the tree of domains, rows of a design matrix."""
