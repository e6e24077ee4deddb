# Step 6: disable or enable ($ENABLED is false or true)
set -eu
cd ~/.digicert/certs
CERT_ID=$(jq -r '.id' response.json)
curl -X PUT "$BASE_URL/account/api/v1/client-auth-certificate/${CERT_ID}/enable" \
  -H "x-api-key: $SERVICE_USER_TOKEN" \
  -H "Content-Type: application/json" \
  -d "{\"enabled\": $ENABLED}"
