"""What happens around training and evaluation batches."""
