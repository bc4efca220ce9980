"""Sound bounds on what a network returns for any image of a set: by intervals, and by linear functions."""
