# Step 2: request the certificate
# ruff: noqa: PTH123, S113 - the tutorial's way, without a timeout too
import os

import requests

USER_API_TOKEN = os.environ["SERVICE_USER_TOKEN"]

with open("client_auth.csr") as f:
    csr_content = f.read()

response = requests.post(
    f"{os.environ['BASE_URL']}/account/api/v1/client-auth-certificate",
    headers={"x-api-key": USER_API_TOKEN, "Content-Type": "application/json"},
    json={
        "csr": csr_content,
        "name": "API Client Auth Certificate",
        "expiration_date": "2026-10-20T23:59:59Z",
    },
)

print(f"Status Code: {response.status_code}")
print(response.json())
