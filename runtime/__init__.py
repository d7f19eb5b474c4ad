"""Processes: mailboxes, GenServer, refs, links, monitors, timers, errors. One node, no network."""
