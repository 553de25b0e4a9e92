"""What a file holds, read without running anything of it: no class of the model's, no torch, no fallback."""
