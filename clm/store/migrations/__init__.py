"""Steps in which our tables came to be; each file is frozen once it was released."""
