# Check certificate expiration, using OpenSSL
set -eu
openssl pkcs12 -in ~/.digicert/certs/client_auth.p12 -nokeys -passin "pass:$YOUR_PASSWORD" |
  openssl x509 -noout -enddate
