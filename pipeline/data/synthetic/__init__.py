"""The small closed world: scenes, their pictures and words, written as each source's official
files."""
