# Step 5: test mTLS; -w adds the status, so that a test can see it
set -eu
cd ~/.digicert/certs
curl -X GET \
  --cert "client_auth.p12:$YOUR_PASSWORD" \
  --cert-type P12 \
  -w '\nStatus Code: %{http_code}\n' \
  "$CLIENTAUTH_URL/account/api/v1/user/me"
