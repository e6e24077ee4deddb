"""The life of a certificate: request, issuance, bundle, proof, rotation and deploy hook, recorded in the journal."""
