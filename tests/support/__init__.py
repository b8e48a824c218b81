"""What several tests share: scoring, checkpoints, servers, goldens."""
