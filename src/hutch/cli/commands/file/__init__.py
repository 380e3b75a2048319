"""Copy files into and out of instances, and edit or delete them."""
