"""Images as the models see them: checked, decoded, cropped, augmented, masked."""
