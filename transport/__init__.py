"""Bytes between two nodes: wire format, codec, ZeroMQ lanes, heartbeat sockets."""
