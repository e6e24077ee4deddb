"""The archive: sealed bags in one chain, signed and time-stamped; verified, held, purged and exported."""
