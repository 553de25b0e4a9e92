"""Experiments with recurrent networks: training them, recording them, saying what was found."""
