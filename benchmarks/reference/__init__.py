"""The two sides of `against_reference.py`: each file runs in an environment of its own."""
