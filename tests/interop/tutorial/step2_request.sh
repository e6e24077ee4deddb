# Step 2: request the certificate
set -eu
cd ~/.digicert/certs
jq -n \
  --arg csr "$(cat client_auth.csr)" \
  --arg name "API Client Auth Certificate" \
  --arg exp "2026-10-20T23:59:59Z" \
  '{csr: $csr, name: $name, expiration_date: $exp}' |
curl -X POST "$BASE_URL/account/api/v1/client-auth-certificate" \
  -H "x-api-key: $SERVICE_USER_TOKEN" \
  -H "Content-Type: application/json" \
  -d @- | tee response.json | jq '.'
