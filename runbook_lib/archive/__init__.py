"""The archive: bags in one chain, sealed, signed and time-stamped; verified, kept, purged and exported."""
