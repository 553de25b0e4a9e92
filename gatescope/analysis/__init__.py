"""From a model and data to one value that holds every answer: analyze, keep, load."""
