"""Documents, datasets, the encoding schedule and the data module."""
