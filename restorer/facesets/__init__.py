"""Sets of pictures for training and judging: faces found and cut out of photographs, and pictures that are damaged."""
