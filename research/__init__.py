"""What the memory predictor rests on: calibration rows, their refit and scores. Nothing of the product imports it."""
