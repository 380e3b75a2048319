"""Custom volumes: made, copied, moved, snapshotted, changed and deleted; and the volumes of a pool as the API shows them."""
