"""Restart strategies, the local Supervisor, the DistributedSupervisor, node selectors."""
