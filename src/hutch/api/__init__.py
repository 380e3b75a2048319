"""The REST API: routes, envelopes, errors."""
