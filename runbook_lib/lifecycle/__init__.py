"""What a certificate goes through: request, issuance, bundle, proof, rotation and deploy hook, each in the journal."""
