"""Runs a notebook headlessly and turns it into an archived, truthful bag. Knows notebooks, not DigiCert."""
