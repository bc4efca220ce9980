"""A sweep: one training for every point of a grid of settings and every seed. Starts other processes, and imports no torch itself."""
