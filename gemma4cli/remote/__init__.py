"""A model that another g4 serves: what it computes is asked for, the rest happens here."""
