"""What a network is driven with, named in one line: an array, a table, text, sound, a function, or random numbers."""
