"""The steps of a photograph, one a file; photo (all steps for one) and stream (for many)."""
