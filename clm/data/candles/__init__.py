"""Market candles: columns of one symbol, their checks, indicators of them, windows and labels from them."""
