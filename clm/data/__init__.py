"""Pure numpy: raw rows to samples, windows, splits, a data set, and what is wrong with it."""
