"""Answers an auditor's questions about an archive, as notebook 06. The only room that knows procedures and archive."""
