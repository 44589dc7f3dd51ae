"""Files in, files out: which are read, where results go, and what is shown meanwhile."""
