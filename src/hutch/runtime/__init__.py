"""What runs instances."""
