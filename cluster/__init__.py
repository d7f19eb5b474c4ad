"""Who is in the cluster: failure detection, membership views, node events."""
