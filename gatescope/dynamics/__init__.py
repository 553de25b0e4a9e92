"""What can be done with any cell, whatever its kind: unroll it, replay it, take its adjoint."""
