"""Reports: domain values in, JSON and Markdown out."""
