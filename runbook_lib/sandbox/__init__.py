"""A local DigiCert ONE Account Manager for practice and for tests: real TLS, its own CA, a clock that can be set.

    env = start(Path("state"))   # state/sandbox.env, once it answers
    ...
    stop(Path("state"))

Rules make requests fail on demand: see `faults`, and parameters/faults for three stories to practise with.

DigiCert does not publish all its behaviour. The sandbox answers 400 to duplicate names and wrong input, and 404 to an
unknown certificate id. OpenSSL refuses a client certificate of a foreign CA, or with another extended key usage than
clientAuth, with a TLS alert before HTTP; every other refusal is a 403.

The CA is valid for localhost only. `openssl verify -CAfile ca.pem` therefore refuses a client certificate whose common
name looks like a host name (`ci.example.com`), which the sandbox accepts; openssl accepts it too with `-partial_chain
-trusted chain.pem`.
"""

from runbook_lib.sandbox.control import is_running, start, stop

__all__ = ["is_running", "start", "stop"]
