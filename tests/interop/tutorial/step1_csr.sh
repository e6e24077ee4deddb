# Step 1: private key and CSR
set -eu
mkdir -p ~/.digicert/certs
cd ~/.digicert/certs
openssl req -new -newkey rsa:2048 -nodes \
  -keyout client_auth_private.key \
  -out client_auth.csr \
  -subj "/CN=Demo API Service User/O=Your Organization/C=US"
chmod 400 client_auth_private.key
