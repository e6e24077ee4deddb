# Check certificate expiration, using the API
set -eu
curl -X GET \
  "$BASE_URL/account/api/v1/client-auth-certificate" \
  -H "x-api-key: $SERVICE_USER_TOKEN" | jq '.[] | {name, end_date, enabled}'
