"""Long work, what it tells the world, and what keeps two of it apart."""
