"""Text becomes tokens on disk, and tokens become batches."""
