"""The verbs: what can be done with each resource."""
