"""Streams without sockets: bytes in, events out; the caller answers the events with verbs."""
