"""What an auditor asks of an archive, as notebook 06: the only room that knows both procedures and reports."""
