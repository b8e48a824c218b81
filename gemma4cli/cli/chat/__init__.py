"""``g4 chat``: a conversation at a terminal, or one answer in a pipeline."""
