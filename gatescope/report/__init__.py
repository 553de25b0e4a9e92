"""What is said: sections as plain values first, then the same sections as a page and for a terminal."""
