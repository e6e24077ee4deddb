# Step 5: test mTLS
# ruff: noqa: PTH123, S113 - the tutorial's way, without a timeout too
# mypy: ignore-errors
import os

import requests
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

with open("client_auth.p12", "rb") as f:
    p12_data = f.read()

private_key, certificate, additional_certs = pkcs12.load_key_and_certificates(
    p12_data, os.environ["YOUR_PASSWORD"].encode()
)

with open("temp_cert.pem", "wb") as f:
    f.write(certificate.public_bytes(Encoding.PEM))

with open("temp_key.pem", "wb") as f:
    f.write(private_key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))

response = requests.get(
    f"{os.environ['CLIENTAUTH_URL']}/account/api/v1/user/me",
    cert=("temp_cert.pem", "temp_key.pem"),
)

print(f"Status Code: {response.status_code}")
print(response.json())
