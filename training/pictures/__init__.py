"""Drawn pictures of shapes and lettering: scenes, captions, questions, labels, the vision tower."""
