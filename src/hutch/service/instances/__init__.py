"""What can be done with instances, a file a verb."""
