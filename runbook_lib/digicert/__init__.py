"""The Account Manager of DigiCert ONE as a typed client: models, errors, TLS, environments."""
