"""Training the embedded base model."""
