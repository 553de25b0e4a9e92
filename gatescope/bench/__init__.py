"""What gatescope costs on this machine, side by side in one run: `python -m gatescope.bench`."""
