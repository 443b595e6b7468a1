"""What training imports; an edit here redoes the fine-tunes of this task."""
