"""The sound of files and of the microphone: tracks, channels and times to samples."""
