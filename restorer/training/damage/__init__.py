"""Damage done to batches on any device: the paper's model, colour jitter, and what happens to old photographs.

Images are RGB N×3×H×W float32 in 0..255. Parameters are one number for all images or one for each (N,). Randomness
comes from :class:`Draws`, one generator for each image, so that an image's damage does not depend on its neighbours in
the batch.
"""
