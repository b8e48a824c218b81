"""Media as files: opening, recognizing and naming them. Only media opens files and devices."""
