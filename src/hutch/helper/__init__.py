"""Small programs that the daemon starts; standard library only."""
