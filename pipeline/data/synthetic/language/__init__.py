"""What is written about scenes: captions, questions, statements, articles and books."""
