"""What people and programs get to see: answers, progress, pictures, exit codes."""
