"""The `noex-node` command."""
