"""Documents on the wire, which are also the stored records: one file a resource."""
