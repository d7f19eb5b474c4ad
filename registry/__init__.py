"""Names: behaviors by name, local names, global names."""
