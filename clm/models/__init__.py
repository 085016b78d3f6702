"""The served architectures; torch, so only the training child imports this."""
