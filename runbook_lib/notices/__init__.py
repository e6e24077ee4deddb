"""Notices: messages, metrics, a calendar and a heartbeat, made from what a run leaves in the archive."""
