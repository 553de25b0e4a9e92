"""Recording: what a model did, from outside it, or in modules that remember."""
