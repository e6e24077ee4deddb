# Step 3: take the certificate out of the response
set -eu
cd ~/.digicert/certs
jq -r '.x509_cert' response.json > client_auth.crt
openssl x509 -in client_auth.crt -text -noout | head -n 10
