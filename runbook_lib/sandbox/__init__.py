"""A local DigiCert ONE Account Manager for practice and for tests: real TLS, its own CA, a clock that can be set.

    env = start(Path("state"))   # state/sandbox.env, once it answers
    ...
    stop(Path("state"))

Requests go wrong by rule where that is wanted: see `faults`, and parameters/faults for three stories to practise with.

Where DigiCert's behaviour is not public, the sandbox had to choose: duplicate names and wrong input answer 400, an
unknown certificate id 404. A client certificate of a foreign CA, or one whose extended key usage names something else
than clientAuth, is refused by OpenSSL with a TLS alert and never reaches HTTP; every other refusal is a 403.

The CA file speaks for localhost only. `openssl verify -CAfile ca.pem` therefore refuses a client certificate whose
common name looks like a host name (`ci.example.com`), which the sandbox itself accepts; with `-partial_chain -trusted
chain.pem` it is accepted there too.
"""

from runbook_lib.sandbox.control import is_running, start, stop

__all__ = ["is_running", "start", "stop"]
