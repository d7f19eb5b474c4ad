"""noex: GenServer processes, supervision trees, and clusters that survive a kill."""
