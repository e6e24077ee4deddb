# Step 4: bundle as PKCS#12, delete the plaintext key ($MORE is empty, as in the tutorial, or adds the chain)
set -eu
cd ~/.digicert/certs
openssl pkcs12 -export \
  -out client_auth.p12 \
  -inkey client_auth_private.key \
  -in client_auth.crt \
  -name "DigiCert Client Auth Certificate" \
  -passout "pass:$YOUR_PASSWORD" $MORE
rm -f client_auth_private.key
