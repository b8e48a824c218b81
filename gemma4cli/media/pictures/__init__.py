"""Images and clips to upright RGB pixels in sRGB."""
