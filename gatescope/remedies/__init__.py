"""What would help, measured: copies of a model are changed, run on the same data, and looked at again."""
