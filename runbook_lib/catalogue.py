"""Every reason for which something can fail, and its explanation: title, meaning, remedy, notebook and exit code.

Errors, reports, exit codes and notebook 07 share them, so a reason reads the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Exit(IntEnum):
    """Exit codes of `runbook`. Scripts rely on these numbers."""

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    NOTHING_DUE = 10  # the next three only with --exit-detail
    PROGRESSED = 11
    WAITING = 12
    DUE = 20
    CHECK_FAILED = 30
    OUTCOME_UNKNOWN = 40
    BUSY = 41


class Reason(StrEnum):
    """Why something failed. run.json, CSV files and documents use the value, so it never changes."""

    # parameters and secrets
    BAD_PARAMETER = "bad_parameter"
    UNKNOWN_PARAMETER = "unknown_parameter"
    CONFLICTING_PARAMETER = "conflicting_parameter"
    CONFIRMATION_MISSING = "confirmation_missing"
    TICKET_MISSING = "ticket_missing"
    SECRET_AS_VALUE = "secret_as_value"
    SECRET_NOT_FOUND = "secret_not_found"
    SECRET_EXPOSED = "secret_exposed"
    WEAK_PASSWORD = "weak_password"
    UNKNOWN_NOTEBOOK = "unknown_notebook"
    STEP_OUT_OF_ORDER = "step_out_of_order"
    # the API
    API_KEY_REFUSED = "api_key_refused"
    API_KEY_MALFORMED = "api_key_malformed"
    NO_ACCESS = "no_access"
    DUPLICATE_NAME = "duplicate_name"
    INVALID_INPUT = "invalid_input"
    NOT_MULTI_FACTOR = "not_multi_factor"
    NOT_FOUND = "not_found"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    UNEXPECTED_ANSWER = "unexpected_answer"
    LIST_NOT_WHOLE = "list_not_whole"
    OUTCOME_UNKNOWN = "outcome_unknown"
    # the connection
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed_out"
    TLS_NOT_TRUSTED = "tls_not_trusted"
    # the certificate in use
    CERTIFICATE_DISABLED = "certificate_disabled"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_NOT_YET_VALID = "certificate_not_yet_valid"
    CERTIFICATE_UNKNOWN = "certificate_unknown"
    CERTIFICATE_REFUSED = "certificate_refused"
    CHAIN_MISSING = "chain_missing"
    WRONG_ENVIRONMENT = "wrong_environment"
    CONTROL_FAILED = "control_failed"
    STILL_ACCEPTED = "still_accepted"
    LAST_WORKING_CERTIFICATE = "last_working_certificate"
    CERTIFICATE_IN_USE = "certificate_in_use"
    # files
    WRONG_PASSWORD = "wrong_password"
    P12_WITHOUT_KEY = "p12_without_key"
    UNREADABLE_FILE = "unreadable_file"
    KEY_MISMATCH = "key_mismatch"
    LINT_FAILED = "lint_failed"
    NO_CREDENTIAL = "no_credential"
    STORE_NOT_WRITABLE = "store_not_writable"
    STORE_EXPOSED = "store_exposed"
    DISK_FULL = "disk_full"
    BUSY = "busy"
    JOURNAL_DAMAGED = "journal_damaged"
    CLOCK_WRONG = "clock_wrong"
    CLOCK_WENT_BACK = "clock_went_back"
    # files in a folder of certificates
    FILE_NOT_READ = "file_not_read"
    FILE_TOO_LARGE = "file_too_large"
    FILE_GIVEN_UP = "file_given_up"
    LINK_NOT_FOLLOWED = "link_not_followed"
    NO_CERTIFICATE = "no_certificate"
    KEY_IN_PLAIN_TEXT = "key_in_plain_text"
    P12_NOT_OPENED = "p12_not_opened"
    KEYSTORE_NOT_READ = "keystore_not_read"
    CONTAINER_NOT_OPENED = "container_not_opened"
    KEY_NOT_CHECKED = "key_not_checked"
    OLD_ENCRYPTION = "old_encryption"
    UNUSUAL_ENCODING = "unusual_encoding"
    TABLE_NOT_WRITTEN = "table_not_written"
    TABLE_CHANGED = "table_changed"
    # a rotation
    HOOK_FAILED = "hook_failed"
    ROTATION_POINTLESS = "rotation_pointless"
    STATE_CONTRADICTION = "state_contradiction"
    # the run
    SECRET_IN_ARTEFACT = "secret_in_artefact"
    CELL_TIMEOUT = "cell_timeout"
    RUN_DEADLINE = "run_deadline"
    NOT_SAVED = "not_saved"
    KERNEL_DIED = "kernel_died"
    KERNEL_NOT_STARTED = "kernel_not_started"
    ENGINE_FAILED = "engine_failed"
    INTERRUPTED = "interrupted"
    NOTEBOOK_STOPPED_EARLY = "notebook_stopped_early"
    NOTEBOOK_ERROR = "notebook_error"
    UNEXPECTED = "unexpected"
    NOT_PROVEN = "not_proven"
    ACCOUNTS_FAILED = "accounts_failed"
    ACCOUNTS_MISSING = "accounts_missing"
    ARCHIVE_FAILED = "archive_failed"
    NOT_SIGNED = "not_signed"
    NOT_STAMPED = "not_stamped"
    # the archive
    SIGNER_SHUT = "signer_shut"
    NOT_WHOLE = "not_whole"
    NOTHING_EXPECTED = "nothing_expected"


@dataclass(frozen=True)
class Explanation:
    """What a reason means and what to do about it.

    Args:
        title: names the cause, without a full stop.
        means: what it means here, and what was or was not done.
        remedy: begins with what to do.
        notebook: the notebook that helps, without its folder; empty if none does.
        exit: the exit code that a scheduler sees.
    """

    title: str
    means: str
    remedy: str
    notebook: str
    exit: Exit


CATALOGUE: dict[Reason, Explanation] = {
    Reason.BAD_PARAMETER: Explanation(
        "A parameter has an invalid value",
        "The value was refused before anything changed.",
        "Correct the value named above, in the form, the file or the command, and run again.",
        "",
        Exit.USAGE,
    ),
    Reason.UNKNOWN_PARAMETER: Explanation(
        "The notebook has no such parameter",
        "Usually the name is misspelt, or the parameter file belongs to another notebook. An ignored parameter would "
        "make the report untrue, so it is refused.",
        "Compare the name with the parameter table at the top of the notebook.",
        "",
        Exit.USAGE,
    ),
    Reason.CONFLICTING_PARAMETER: Explanation(
        "A parameter has two different values",
        "The injected value and the value typed into the form disagree. Neither is used.",
        "Keep the injected value, or open the notebook without one.",
        "",
        Exit.USAGE,
    ),
    Reason.CONFIRMATION_MISSING: Explanation(
        "The change is not confirmed",
        "Without an exact confirmation, a headless run changes nothing.",
        "Read the plan with `dry_run: true`, then set `confirm` to the certificate's name.",
        "",
        Exit.USAGE,
    ),
    Reason.TICKET_MISSING: Explanation(
        "The change has no ticket",
        "The archive's policy requires a ticket for changes in this environment. Nothing was changed, and no request "
        "was sent.",
        "Set `ticket`, and `change_reason` and `approved_by` with it, and run again. A dry run needs no ticket.",
        "",
        Exit.USAGE,
    ),
    Reason.SECRET_AS_VALUE: Explanation(
        "A parameter holds a value instead of a reference to a secret",
        "Parameters are archived with the notebook, so they only say where a secret is. The value was not used and is "
        "not shown here. If it is in a file or a shell history, treat it as leaked and replace it.",
        "Give a reference: env:NAME, file:PATH, keyring:SERVICE/USER, or prompt: in a notebook.",
        "00_start_here",
        Exit.USAGE,
    ),
    Reason.SECRET_NOT_FOUND: Explanation(
        "A secret is missing",
        "The environment variable, file or keyring entry does not exist, is empty or cannot be read. Nothing was sent.",
        "Set the secret, or change the reference. `runbook doctor` shows where it looks for each secret.",
        "00_start_here",
        Exit.USAGE,
    ),
    Reason.SECRET_EXPOSED: Explanation(
        "Every user of this machine can read a secret's file",
        "Anyone who can log in here can read the secret. It was not used.",
        "Run chmod 600 on the file. If others could have read it, replace the secret.",
        "00_start_here",
        Exit.USAGE,
    ),
    Reason.WEAK_PASSWORD: Explanation(
        "The P12 password is too weak or not portable",
        "The password alone protects the key in the P12. It needs 22 or more ASCII letters and digits (128 bits); some "
        "Java and Windows versions misread other characters.",
        "Create one with `openssl rand -hex 32` and put it where the reference points.",
        "01_issue",
        Exit.USAGE,
    ),
    Reason.UNKNOWN_NOTEBOOK: Explanation(
        "There is no such notebook",
        "The argument is neither a known short name nor an existing .ipynb file.",
        "Use doctor, issue, verify, access, inventory, rotate, archive or troubleshoot, or the path of an .ipynb file.",
        "",
        Exit.USAGE,
    ),
    Reason.STEP_OUT_OF_ORDER: Explanation(
        "An earlier step is not done",
        "Each step builds on the steps above it. Nothing was done.",
        "Run the steps from top to bottom.",
        "",
        Exit.USAGE,
    ),
    Reason.API_KEY_MALFORMED: Explanation(
        "The API key is malformed",
        "An API key is one word of letters, digits and underscores. Nothing was sent.",
        "Put the key alone into its source, named above. The source holds a second line or other text.",
        "00_start_here",
        Exit.USAGE,
    ),
    Reason.API_KEY_REFUSED: Explanation(
        "DigiCert ONE refused the API key",
        "The key is missing, mistyped or expired, its service user is disabled, or it was created on another DigiCert "
        "ONE host: a key works only on the host where it was created.",
        "Check the key's source and the environment with `runbook doctor`. If the key has expired, create a new one "
        "for the service user.",
        "00_start_here",
        Exit.CHECK_FAILED,
    ),
    Reason.NO_ACCESS: Explanation(
        "The service user lacks a permission",
        "DigiCert ONE knows the service user, but its role does not allow this operation (`no_access`: Not enough "
        "permissions).",
        "Ask an account administrator for a role that may manage client authentication certificates.",
        "00_start_here",
        Exit.CHECK_FAILED,
    ),
    Reason.DUPLICATE_NAME: Explanation(
        "A client certificate with this name already exists",
        "DigiCert ONE answered `duplicate_error`: the certificate's name is taken, not its common name. If an earlier "
        "run was cut off, that certificate may be the one it requested, so do not simply choose another name.",
        "Look up the certificate with notebook 04. If you cannot reuse it, choose another `name`.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.INVALID_INPUT: Explanation(
        "DigiCert ONE refused a field of the request",
        "A field is wrong or malformed (`invalid_input_field`). Nothing was issued.",
        "Check the name (letters, digits, spaces, dashes, underscores), the end date (at most 397 days ahead and not "
        "after the service user's own) and the CSR.",
        "01_issue",
        Exit.CHECK_FAILED,
    ),
    Reason.NOT_MULTI_FACTOR: Explanation(
        "DigiCert ONE saw no client certificate",
        "The request lacked its second factor: it went to the host without `clientauth.`, or without the P12.",
        "Use the clientauth host and send the P12; notebook 02 shows both.",
        "02_verify",
        Exit.CHECK_FAILED,
    ),
    Reason.NOT_FOUND: Explanation(
        "DigiCert ONE did not find the address or the certificate",
        "This host has no such address or certificate id for this service user.",
        "Check the environment and the id with notebook 04.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.RATE_LIMITED: Explanation(
        "DigiCert ONE received too many requests",
        "It asked to slow down, and still did after the allowed retries.",
        "Wait as long as the message says, then run again.",
        "",
        Exit.CHECK_FAILED,
    ),
    Reason.SERVER_ERROR: Explanation(
        "DigiCert ONE failed with a server error",
        "The server answered 5xx. A request that only reads was retried first.",
        "Try again later. If the error persists, check DigiCert's status page.",
        "",
        Exit.CHECK_FAILED,
    ),
    Reason.UNEXPECTED_ANSWER: Explanation(
        "The response is not what the API documents",
        "It is HTML, an empty body or truncated JSON, or lacks a field. Often a proxy or a sign-in page answers in "
        "place of DigiCert ONE.",
        "Check the host name and the proxy with `runbook doctor`.",
        "00_start_here",
        Exit.CHECK_FAILED,
    ),
    Reason.LIST_NOT_WHOLE: Explanation(
        "The list of certificates may be incomplete",
        "DigiCert ONE's response announces more than it returned, contradicts itself, or has entries that cannot be "
        "read. What was read is shown; other certificates may exist.",
        "Run again in a minute: the list may have changed while it was read. If the problem persists, compare with the "
        "list in DigiCert ONE, and check that no proxy answers in its place.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.OUTCOME_UNKNOWN: Explanation(
        "The outcome of the request is unknown",
        "The request was sent and its response was lost. The certificate may exist, so the request is not repeated "
        "blindly. The key is safe in the store.",
        "Run the same notebook again with the same name. It first looks for the certificate by name and public key.",
        "01_issue",
        Exit.OUTCOME_UNKNOWN,
    ),
    Reason.UNREACHABLE: Explanation(
        "The server cannot be reached",
        "The name does not resolve, or nothing answers on the port. Nothing was sent.",
        "Check the host name, the network, HTTPS_PROXY and the firewall. For the sandbox, run `runbook sandbox start "
        "--state DIR`.",
        "00_start_here",
        Exit.CHECK_FAILED,
    ),
    Reason.TIMED_OUT: Explanation(
        "The server did not answer in time",
        "The connection was made, but no complete response arrived.",
        "Try again. If the problem persists, look for a proxy or a firewall that drops packets.",
        "00_start_here",
        Exit.CHECK_FAILED,
    ),
    Reason.TLS_NOT_TRUSTED: Explanation(
        "The server's certificate is not trusted",
        "Its chain does not end in a trust anchor of this machine, or the host name does not match. Nothing was sent; "
        "verification is never switched off.",
        "Name the CA in `ca_file` (DIGICERT_ONE_CA_FILE) if a company proxy or a sandbox signs the certificate. "
        "Otherwise treat it as an attack.",
        "00_start_here",
        Exit.CHECK_FAILED,
    ),
    Reason.CERTIFICATE_DISABLED: Explanation(
        "The certificate is disabled",
        "DigiCert ONE lists it with enabled = false and refuses mTLS with 403, in the same words as without a "
        "certificate.",
        "Enable it with notebook 03 if you want to use it.",
        "03_access",
        Exit.CHECK_FAILED,
    ),
    Reason.CERTIFICATE_EXPIRED: Explanation(
        "The certificate has expired",
        "Its end date has passed. It cannot be renewed or extended.",
        "Issue a new certificate with notebook 01 under a new name.",
        "01_issue",
        Exit.CHECK_FAILED,
    ),
    Reason.CERTIFICATE_NOT_YET_VALID: Explanation(
        "The certificate is not valid yet",
        "Its start date is in the future, nearly always because this machine's clock is wrong.",
        "Check the clock with `runbook doctor`.",
        "00_start_here",
        Exit.CHECK_FAILED,
    ),
    Reason.CERTIFICATE_UNKNOWN: Explanation(
        "DigiCert ONE does not list this certificate",
        "It was issued to another service user or on another host, or it has been deleted.",
        "Check the environment and the API key, then look for the certificate with notebook 04.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.CERTIFICATE_REFUSED: Explanation(
        "The certificate was refused for an unknown reason",
        "It is listed, enabled and in date, and the server still refuses it.",
        "Run notebook 02 again in a minute. If the problem persists, give DigiCert support the serial number and the "
        "time of the report.",
        "02_verify",
        Exit.CHECK_FAILED,
    ),
    Reason.CHAIN_MISSING: Explanation(
        "The P12 lacks the issuing CA certificate",
        "Without it the server cannot build the chain: Java sends no certificate at all; curl and Python report "
        "`unknown ca`.",
        "Create the P12 again with its chain; notebook 01 always includes it.",
        "01_issue",
        Exit.CHECK_FAILED,
    ),
    Reason.WRONG_ENVIRONMENT: Explanation(
        "The credential belongs to another environment",
        "Certificates and API keys work only on the host where they were created. Nothing was sent.",
        "Choose the environment recorded with the credential, or issue a credential for this environment.",
        "01_issue",
        Exit.USAGE,
    ),
    Reason.CONTROL_FAILED: Explanation(
        "A control that must be refused was accepted",
        "The same request succeeded without the certificate, or with an unrelated one. So its success proves nothing "
        "about the certificate.",
        "Check that the clientauth host is used and that no proxy adds credentials, then run notebook 02 again.",
        "02_verify",
        Exit.CHECK_FAILED,
    ),
    Reason.STILL_ACCEPTED: Explanation(
        "A disabled certificate is still accepted",
        "DigiCert ONE confirmed that it is disabled and lists it so, but mTLS with it still works.",
        "Run notebook 03 again in a few minutes. If the problem persists, give DigiCert support the serial number and "
        "the time.",
        "03_access",
        Exit.CHECK_FAILED,
    ),
    Reason.LAST_WORKING_CERTIFICATE: Explanation(
        "This is the last working certificate",
        "Disabling it cuts the service user off from every operation that requires mTLS.",
        "Issue and verify another certificate first, or name this one in `allow_outage_of`.",
        "01_issue",
        Exit.USAGE,
    ),
    Reason.CERTIFICATE_IN_USE: Explanation(
        "This certificate is in use",
        "The store's `current` points to it, so programs may be using it.",
        "Put another certificate into use first, or name this one in `allow_outage_of`.",
        "03_access",
        Exit.USAGE,
    ),
    Reason.WRONG_PASSWORD: Explanation(
        "The password does not open the file",
        "The password is wrong, or a newer tool wrote the file than the one that reads it.",
        "Check `p12_password`: it must name the password that the P12 was created with.",
        "02_verify",
        Exit.CHECK_FAILED,
    ),
    Reason.P12_WITHOUT_KEY: Explanation(
        "The P12 holds no private key",
        "A certificate without its key cannot authenticate.",
        "Use the P12 from the machine that created the key, or issue a new certificate with notebook 01.",
        "01_issue",
        Exit.CHECK_FAILED,
    ),
    Reason.UNREADABLE_FILE: Explanation(
        "A file cannot be read as expected",
        "It is missing, truncated, damaged or of another kind.",
        "Check the path. Restore the file from a backup, or issue a new certificate with notebook 01.",
        "01_issue",
        Exit.CHECK_FAILED,
    ),
    Reason.FILE_NOT_READ: Explanation(
        "A file or folder cannot be read",
        "The operating system refused access, or it is a device or similar. Its content is unknown.",
        "Run as a user who may read it, or name another folder.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.FILE_TOO_LARGE: Explanation(
        "A file is too large to read",
        "Its content is unknown.",
        "Split the file, or name a folder without it.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.FILE_GIVEN_UP: Explanation(
        "Reading a file took too much time or memory",
        "The file may be damaged, or made to stop its reader. Its content is unknown.",
        "Find out who put it there. Move it away, or replace it with a certificate file that opens at once.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.LINK_NOT_FOLLOWED: Explanation(
        "A link is not followed",
        "Its target has rows of its own (state linked), is a folder outside the named ones, or is missing.",
        "Name the target's folder in `folders`, or remove a link that leads nowhere.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.NO_CERTIFICATE: Explanation(
        "A file holds no certificate",
        "It is next to certificates, but contains none.",
        "Ignore it, unless you expect a certificate there.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.KEY_IN_PLAIN_TEXT: Explanation(
        "A file holds an unprotected private key",
        "Anyone who can read the file can act as its owner.",
        "Treat the key as exposed: issue a new certificate with notebook 01, disable this one, delete the file.",
        "01_issue",
        Exit.CHECK_FAILED,
    ),
    Reason.P12_NOT_OPENED: Explanation(
        "A P12 needs a password that was not given",
        "Its certificates are unknown.",
        "Set `folders_password` to where its password is. Opening a P12 takes about 30 ms.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.KEYSTORE_NOT_READ: Explanation(
        "A key store was not read",
        "Only another program can read its format. Its content is unknown.",
        "Install Java's keytool for JKS and JCEKS; export the certificates of any other key store as PEM.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.CONTAINER_NOT_OPENED: Explanation(
        "An archive or encrypted file was not opened",
        "Its certificates and keys are unknown.",
        "Unpack it into the folder, or move it away from the certificates.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.KEY_NOT_CHECKED: Explanation(
        "It is unknown whether a private key is protected",
        "The key is damaged, or in a format that is not read.",
        "Move it away from the certificates, or replace it with an encrypted PKCS#8 or PKCS#12 file.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.OLD_ENCRYPTION: Explanation(
        "A P12 uses encryption that current programs refuse",
        "OpenSSL 3, curl and Node refuse 40-bit RC2, which old key stores still write. The password does not protect "
        "such a file.",
        "Issue a new certificate with notebook 01: it writes P12 files that current programs read.",
        "01_issue",
        Exit.CHECK_FAILED,
    ),
    Reason.UNUSUAL_ENCODING: Explanation(
        "A certificate breaks an encoding rule",
        "It breaks a rule of RFC 5280. OpenSSL and Windows often accept it; Python, Go or Java may refuse it. Its "
        "dates are used as they stand.",
        "Watch its end date like any other. If a client refuses it, ask its issuer for one that follows RFC 5280.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.TABLE_NOT_WRITTEN: Explanation(
        "A long table cannot be written",
        "It is too long for the notebook and goes into the folder `tables` next to it, which is not writable.",
        "Run in a folder where you may write, or name a folder in the variable RUNBOOK_TABLES.",
        "",
        Exit.UNEXPECTED,
    ),
    Reason.TABLE_CHANGED: Explanation(
        "A table changed or disappeared before it was archived",
        "The notebook names the table with its digest, and the file no longer has that digest or is missing.",
        "Run again. If it happens again, find out what else writes into the run's folder.",
        "",
        Exit.UNEXPECTED,
    ),
    Reason.KEY_MISMATCH: Explanation(
        "The key and the certificate do not match",
        "The certificate was issued for another key, so it can never authenticate with ours. It was not put into use.",
        "Disable that certificate with notebook 03 and issue a new one under a new name.",
        "03_access",
        Exit.CHECK_FAILED,
    ),
    Reason.LINT_FAILED: Explanation(
        "The issued certificate is not what was requested",
        "It breaks a rule named above, so it was kept aside and not put into use.",
        "Disable it with notebook 03, report the finding to DigiCert support, and issue again under a new name.",
        "03_access",
        Exit.CHECK_FAILED,
    ),
    Reason.NO_CREDENTIAL: Explanation(
        "The store has no such credential",
        "No certificate of this name was issued here for this environment.",
        "Issue one with notebook 01, or correct `name`, `environment` or `store`.",
        "01_issue",
        Exit.USAGE,
    ),
    Reason.STORE_NOT_WRITABLE: Explanation(
        "The store is not writable",
        "The folder belongs to another user or is on a read-only disk. Nothing was sent.",
        "Choose another `store`, or correct the folder's owner.",
        "00_start_here",
        Exit.USAGE,
    ),
    Reason.STORE_EXPOSED: Explanation(
        "Other users can read the store",
        "The folder or a file in it is open to other users of this machine.",
        "Run chmod -R go= on the store. If a key's password was exposed too, rotate the certificate.",
        "00_start_here",
        Exit.USAGE,
    ),
    Reason.DISK_FULL: Explanation(
        "No space is left",
        "A file could not be written completely. Earlier files are unchanged.",
        "Free some space and run again: it continues where it stopped.",
        "",
        Exit.UNEXPECTED,
    ),
    Reason.BUSY: Explanation(
        "Another run is in progress",
        "Two runs at once could request certificates under one name, or seal two bags at one place of the archive. "
        "Nothing was changed while waiting.",
        "Wait until the other run has ended, or end it, then run again. A run that was killed leaves no lock.",
        "",
        Exit.BUSY,
    ),
    Reason.JOURNAL_DAMAGED: Explanation(
        "The credential's journal is damaged",
        "A line is not what this software writes: the journal was edited or restored from a backup. Nothing is guessed "
        "from it.",
        "Compare the journal with notebook 04, then restore it or issue under a new name.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.CLOCK_WRONG: Explanation(
        "This machine's clock is wrong",
        "It differs from the server's clock by more than five minutes. Dates in reports would be untrue, and "
        "certificates would look expired or not yet valid.",
        "Synchronise the clock (chrony, systemd-timesyncd).",
        "00_start_here",
        Exit.CHECK_FAILED,
    ),
    Reason.CLOCK_WENT_BACK: Explanation(
        "The clock went back",
        "The journal holds an entry later than now. Waiting times would be wrong, so nothing was done.",
        "Synchronise the clock. If the journal was written under a wrong clock, wait until its last entry has passed.",
        "00_start_here",
        Exit.CHECK_FAILED,
    ),
    Reason.HOOK_FAILED: Explanation(
        "The deploy hook failed",
        "The new certificate is in place. Whether programs use it is unknown. The old one stays enabled.",
        "Correct the hook and run notebook 05 again, which calls it again. To go back, choose the action “roll back”.",
        "05_rotate",
        Exit.CHECK_FAILED,
    ),
    Reason.ROTATION_POINTLESS: Explanation(
        "A new certificate would not last longer",
        "No certificate outlives its service user, so a rotation would change nothing. Nothing was done.",
        "Ask an account administrator to extend the service user's end date, then run notebook 05 again.",
        "05_rotate",
        Exit.CHECK_FAILED,
    ),
    Reason.STATE_CONTRADICTION: Explanation(
        "The current state contradicts the journal",
        "Somebody else changed it, or the store was restored from an older backup. Nothing is guessed, and nothing was "
        "changed.",
        "Look with notebook 04, correct what is named above, then run notebook 05 again or choose “roll back”.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.SECRET_IN_ARTEFACT: Explanation(
        "A secret was found in what was to be archived",
        "The file that held it was withheld and the run counts as failed. The secret was not archived.",
        "Find the cell named above and remove what shows the secret. If the notebook was saved anywhere else, replace "
        "the secret.",
        "07_troubleshoot",
        Exit.UNEXPECTED,
    ),
    Reason.CELL_TIMEOUT: Explanation(
        "A cell took too long and was stopped",
        "What it did until then stands; later cells did not run.",
        "Find out what it waited for, or allow more time with `--cell-timeout`. An issuance resumes when run again.",
        "07_troubleshoot",
        Exit.UNEXPECTED,
    ),
    Reason.NOT_SAVED: Explanation(
        "The executed notebook could not be saved",
        "The outcome of some cells that ran is in no file, and the cells after them did not run. What they changed is "
        "recorded in the credential's journal and in DigiCert ONE.",
        "Free space on the archive's disk, look with notebook 04, then run again: it resumes where it stopped.",
        "04_inventory",
        Exit.UNEXPECTED,
    ),
    Reason.RUN_DEADLINE: Explanation(
        "The run took too long and was stopped",
        "What ran until then stands; later cells did not run.",
        "Find out what it waited for, or allow more time with `--deadline`. An issuance resumes when run again.",
        "07_troubleshoot",
        Exit.UNEXPECTED,
    ),
    Reason.KERNEL_DIED: Explanation(
        "The notebook's kernel died",
        "It crashed or was killed, most often because memory ran out.",
        "Check the system log for the out-of-memory killer. An issuance resumes when run again.",
        "07_troubleshoot",
        Exit.UNEXPECTED,
    ),
    Reason.KERNEL_NOT_STARTED: Explanation(
        "The notebook's kernel did not start",
        "No cell ran: the kernel that the notebook names is not installed here, or it ended while starting.",
        "Run it with the project's own `.venv/bin/runbook`; `jupyter kernelspec list` lists the installed kernels.",
        "",
        Exit.UNEXPECTED,
    ),
    Reason.ENGINE_FAILED: Explanation(
        "No process could be created for the run",
        "The process that is forked for each run does not start, or is killed repeatedly. Memory or the number of "
        "processes may be at its limit.",
        'Free memory and run again. If the problem persists, write `{"runbook": {"engine": "papermill"}}` into the '
        "notebook's metadata: it then gets a kernel of its own.",
        "",
        Exit.UNEXPECTED,
    ),
    Reason.INTERRUPTED: Explanation(
        "The run was interrupted",
        "Ctrl-C, a termination signal or the person at the notebook ended it. What ran until then stands.",
        "Run the same again: issuing, rotating and disabling resume where they stopped.",
        "",
        Exit.UNEXPECTED,
    ),
    Reason.NOTEBOOK_STOPPED_EARLY: Explanation(
        "The notebook ended before its last step",
        "It did not reach its end and reported no error, as after `sys.exit(0)`. It counts as failed.",
        "Remove the code that ended it early.",
        "07_troubleshoot",
        Exit.UNEXPECTED,
    ),
    Reason.NOTEBOOK_ERROR: Explanation(
        "A notebook cell failed",
        "This project does not know the error; the notebook shows all of it.",
        "Read the failed cell in run.ipynb. If the notebook is ours and unchanged, report the error.",
        "07_troubleshoot",
        Exit.UNEXPECTED,
    ),
    Reason.UNEXPECTED: Explanation(
        "An unexpected error occurred",
        "This project or a library has a fault. What ran has run; what is known of it is archived.",
        "Report it with the bag's unexpected.log, or with the output of `runbook -v COMMAND`. Both hold only places in "
        "the code.",
        "07_troubleshoot",
        Exit.UNEXPECTED,
    ),
    Reason.NOT_PROVEN: Explanation(
        "A step failed or could not be checked",
        "The run reached its end and its report is complete, but it does not show what it was run to show.",
        "Read the step named above in report.html. `runbook doctor` checks the connection and the secrets.",
        "07_troubleshoot",
        Exit.CHECK_FAILED,
    ),
    Reason.ACCOUNTS_FAILED: Explanation(
        "Some accounts of the batch failed",
        "Each of them was run, and its own report says why it failed. The others are done.",
        "Read the batch's report, which lists them by reason. Correct the causes and run the batch again.",
        "07_troubleshoot",
        Exit.CHECK_FAILED,
    ),
    Reason.ACCOUNTS_MISSING: Explanation(
        "The batch stopped before every account was finished",
        "What was done is archived. The other accounts are listed as missing.",
        "Run the same command again within 12 hours: it runs only the missing accounts. Later, it starts over.",
        "",
        Exit.UNEXPECTED,
    ),
    Reason.ARCHIVE_FAILED: Explanation(
        "The run could not be archived",
        "What ran is not in the archive, so there is no evidence of it.",
        "Free space or correct the archive's owner, then run again.",
        "",
        Exit.UNEXPECTED,
    ),
    Reason.NOT_SIGNED: Explanation(
        "The run is archived, but its bag is not signed",
        "The archive's signing key could not be used. The evidence is kept and chained, and the bag says that it is "
        "not signed; the signature of the next signed bag covers it too.",
        "Put the passphrase where its reference in certs/signer.json points, then run again.",
        "",
        Exit.UNEXPECTED,
    ),
    Reason.NOT_STAMPED: Explanation(
        "The bag has no time stamp yet",
        "The time-stamp authority returned no valid time stamp. The bag is sealed without one; nothing else about it "
        "is affected. Until the time stamp arrives, only this machine's clock dates the bag.",
        "Wait for the next run, which asks again, or run `runbook archive stamp DIR` to ask for all missing ones now.",
        "",
        Exit.UNEXPECTED,
    ),
    Reason.SIGNER_SHUT: Explanation(
        "The archive's signer cannot sign",
        "An archive entry (a signer, an authority, an expectation, a hold, a purge, an export) must be signed. Nothing "
        "was changed.",
        "Put the passphrase where its reference in certs/signer.json points, then repeat the command.",
        "",
        Exit.UNEXPECTED,
    ),
    Reason.NOT_WHOLE: Explanation(
        "The archive does not verify",
        "Purging, exporting or re-stamping it now would hide what does not verify. Nothing was changed.",
        "Run `runbook archive verify DIR`, resolve every finding (a backup helps), then repeat the command.",
        "",
        Exit.UNEXPECTED,
    ),
    Reason.NOTHING_EXPECTED: Explanation(
        "There is no expectation for this period",
        "Without one, missing runs cannot be detected.",
        "Declare one with `runbook archive expect FILE --archive DIR`; parameters/expected/nightly.yaml is a sample.",
        "",
        Exit.CHECK_FAILED,
    ),
}
