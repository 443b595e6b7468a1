"""What a fine-tune imports."""
