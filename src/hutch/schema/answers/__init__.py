"""What the API answers with: one file a resource. They describe documents (for OpenAPI, and for tests), they do not build them."""
