"""Visual question answering: VQA 2.0."""
