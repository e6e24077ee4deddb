"""Runbooks for the mTLS client certificate of a DigiCert ONE service user."""
