"""What is said: English and German sentences, and English ones about pictures."""
