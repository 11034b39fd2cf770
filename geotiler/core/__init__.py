"""Arrays and numbers in, arrays and numbers out: no files, no models."""
