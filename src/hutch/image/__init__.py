"""Images: formats, unpacking, packing, templates."""
