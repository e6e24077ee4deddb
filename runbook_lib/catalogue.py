"""The reasons why something did not work: one enum and one explanation each, shared by errors, reports, exit codes and
notebook 07.

A reason reads the same wherever it is met: what it means here, what to do next, which notebook fixes it, and the exit
code a scheduler sees.
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
    """Why something did not work. The value is the stable name used in run.json, CSV and documentation."""

    # what was asked for
    BAD_PARAMETER = "bad_parameter"
    UNKNOWN_PARAMETER = "unknown_parameter"
    CONFLICTING_PARAMETER = "conflicting_parameter"
    CONFIRMATION_MISSING = "confirmation_missing"
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
    # the way to it
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed_out"
    TLS_NOT_TRUSTED = "tls_not_trusted"
    # the certificate as a key to the API
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
    # a file of a folder of certificates
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
    """What a reason means and what to do about it."""

    title: str
    means: str
    remedy: str
    notebook: str  # the notebook that fixes it, without folder; empty where a shell command does
    exit: Exit


CATALOGUE: dict[Reason, Explanation] = {
    Reason.BAD_PARAMETER: Explanation(
        "A parameter has a wrong value",
        "The value was refused before anything was changed.",
        "Correct the parameter named above, in the form or in the YAML file, and run again.",
        "",
        Exit.USAGE,
    ),
    Reason.UNKNOWN_PARAMETER: Explanation(
        "A parameter this notebook does not have",
        "Most often a misspelt name, or a parameter file that belongs to another notebook. It was refused, "
        "since a parameter without effect would make the report say something untrue.",
        "Compare the name with the parameter table at the top of the notebook.",
        "",
        Exit.USAGE,
    ),
    Reason.CONFLICTING_PARAMETER: Explanation(
        "Two different values for one parameter",
        "A value that was injected and a value typed into the form disagree. Neither is chosen silently.",
        "Keep the injected value, or open the notebook without injecting one.",
        "",
        Exit.USAGE,
    ),
    Reason.CONFIRMATION_MISSING: Explanation(
        "A change without its confirmation",
        "A headless run changes things only when `confirm` repeats the certificate's name exactly. Nothing "
        "was changed.",
        "Look at the plan with `dry_run: true`, then set `confirm` to the certificate's name.",
        "",
        Exit.USAGE,
    ),
    Reason.SECRET_AS_VALUE: Explanation(
        "A secret was given as a plain value",
        "Parameters are archived with the notebook, so they only say where a secret is. The value was not "
        "used and is not shown here. If it went into a file or a shell history, treat it as leaked and "
        "replace it.",
        "Give a reference: env:NAME, file:PATH, keyring:SERVICE/USER, or prompt: in a notebook.",
        "00_start_here",
        Exit.USAGE,
    ),
    Reason.SECRET_NOT_FOUND: Explanation(
        "A secret is not where its reference points",
        "The environment variable, file or keyring entry does not exist or is empty. Nothing was sent.",
        "Set it, or change the reference. `runbook doctor` shows for each secret where it is looked for.",
        "00_start_here",
        Exit.USAGE,
    ),
    Reason.SECRET_EXPOSED: Explanation(
        "A secret's file can be read by every user of this machine",
        "Whoever can log in here can read it, so it is no secret. It was not used.",
        "chmod 600 the file; if others could have read it, replace the secret.",
        "00_start_here",
        Exit.USAGE,
    ),
    Reason.WEAK_PASSWORD: Explanation(
        "A P12 password that some reader cannot take, or that can be guessed",
        "The password is all that protects the key in the P12: 22 or more ASCII letters and digits hold the "
        "128 bits it needs, and other characters are misread by some Java and Windows versions.",
        "Make one with `openssl rand -hex 32` and put it where the reference points.",
        "01_issue",
        Exit.USAGE,
    ),
    Reason.UNKNOWN_NOTEBOOK: Explanation(
        "There is no such notebook",
        "Neither a short name that is known nor a file that exists.",
        "Use doctor, issue, verify, access, inventory, rotate, archive or troubleshoot, or the path of an .ipynb file.",
        "",
        Exit.USAGE,
    ),
    Reason.STEP_OUT_OF_ORDER: Explanation(
        "An earlier step has not been done",
        "Each step builds on the ones above it. Nothing was done.",
        "Do the steps from top to bottom.",
        "",
        Exit.USAGE,
    ),
    Reason.API_KEY_MALFORMED: Explanation(
        "This is no API key",
        "A key is one word of letters, digits and underscores. Nothing was sent.",
        "Look at the key's source, named above: it holds two lines, or more than the key. Put the key alone there.",
        "00_start_here",
        Exit.USAGE,
    ),
    Reason.API_KEY_REFUSED: Explanation(
        "DigiCert ONE refused the API key",
        "The key is missing, mistyped, expired, belongs to a disabled service user, or was made on another "
        "DigiCert ONE host: keys work only where they were made.",
        "Check the key's source and the environment with `runbook doctor`; make a new token for the service "
        "user if it has expired.",
        "00_start_here",
        Exit.CHECK_FAILED,
    ),
    Reason.NO_ACCESS: Explanation(
        "The service user has no permission for this",
        "DigiCert ONE knows the service user (`no_access`: Not enough permissions), but its role does not "
        "allow the operation.",
        "Ask an account administrator to give the service user a role that may manage client authentication "
        "certificates.",
        "00_start_here",
        Exit.CHECK_FAILED,
    ),
    Reason.DUPLICATE_NAME: Explanation(
        "A client certificate of this name exists already",
        "DigiCert ONE answered `duplicate_error`. The certificate's *name* collides, not its common name. If "
        "an earlier run was cut off, that certificate may well be the one it asked for: do not simply take "
        "another name.",
        "Look it up with notebook 04. If it is not yours to reuse, choose another `name`.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.INVALID_INPUT: Explanation(
        "DigiCert ONE refused the request's content",
        "`invalid_input_field`: a field is wrong or malformed. Nothing was issued.",
        "Check name (letters, digits, spaces, dashes, underscores), end date (at most 397 days ahead and not "
        "past the service user's own) and CSR.",
        "01_issue",
        Exit.CHECK_FAILED,
    ),
    Reason.NOT_MULTI_FACTOR: Explanation(
        "The call carried no second factor",
        "DigiCert ONE saw no client certificate: the host without `clientauth.` was used, or no P12 was sent.",
        "Use the clientauth host and send the P12; notebook 02 shows both.",
        "02_verify",
        Exit.CHECK_FAILED,
    ),
    Reason.NOT_FOUND: Explanation(
        "DigiCert ONE does not know it",
        "The address or the certificate id does not exist on this host for this service user.",
        "Check the environment and the id with notebook 04.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.RATE_LIMITED: Explanation(
        "Too many requests",
        "DigiCert ONE asked to slow down and kept asking after the allowed retries.",
        "Wait as long as the message says, then run again.",
        "",
        Exit.CHECK_FAILED,
    ),
    Reason.SERVER_ERROR: Explanation(
        "DigiCert ONE had an error of its own",
        "The server answered 5xx. For a reading call it was tried again first.",
        "Try again later; look at DigiCert's status page if it lasts.",
        "",
        Exit.CHECK_FAILED,
    ),
    Reason.UNEXPECTED_ANSWER: Explanation(
        "The answer is not what the API documents",
        "HTML, an empty body, cut-off JSON or a missing field: often a proxy or a sign-in page answering in "
        "place of DigiCert ONE.",
        "Check the host name and the proxy with `runbook doctor`.",
        "00_start_here",
        Exit.CHECK_FAILED,
    ),
    Reason.LIST_NOT_WHOLE: Explanation(
        "The list of certificates may not be whole",
        "DigiCert ONE's answer says that there is more than it gave, contradicts itself, or holds entries that cannot "
        "be read. What was read is shown; what was not may exist all the same.",
        "Run again in a minute: the list may have changed while it was read. If it lasts, compare with the list in "
        "DigiCert ONE, and check that no proxy answers in its place.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.OUTCOME_UNKNOWN: Explanation(
        "Nobody knows whether the request was carried out",
        "The request was sent and its answer was lost. It is not sent again blindly: the certificate may "
        "exist. The key is safe in the store.",
        "Run the same notebook again with the same name: it looks for the certificate by name and public key "
        "before doing anything else.",
        "01_issue",
        Exit.OUTCOME_UNKNOWN,
    ),
    Reason.UNREACHABLE: Explanation(
        "The server cannot be reached",
        "The name does not resolve, or nothing answers on the port. Nothing was sent.",
        "Check the host name, the network, HTTPS_PROXY and the firewall; for the sandbox: `runbook sandbox "
        "start --state DIR`.",
        "00_start_here",
        Exit.CHECK_FAILED,
    ),
    Reason.TIMED_OUT: Explanation(
        "The server did not answer in time",
        "A connection was made and no complete answer came.",
        "Try again; a proxy or a firewall that swallows packets looks like this too.",
        "00_start_here",
        Exit.CHECK_FAILED,
    ),
    Reason.TLS_NOT_TRUSTED: Explanation(
        "The server's certificate is not trusted",
        "The server's chain does not end in a trust anchor this machine has, or the name does not match. "
        "Nothing was sent: verification is never switched off.",
        "If a company proxy or a sandbox signs it, name its CA in `ca_file` (DIGICERT_ONE_CA_FILE); otherwise"
        " treat it as an attack.",
        "00_start_here",
        Exit.CHECK_FAILED,
    ),
    Reason.CERTIFICATE_DISABLED: Explanation(
        "The certificate is disabled",
        "DigiCert ONE lists it with enabled = false, so mTLS is refused with 403, in the same words as if no "
        "certificate had been sent.",
        "Enable it in notebook 03 if that is what you want.",
        "03_access",
        Exit.CHECK_FAILED,
    ),
    Reason.CERTIFICATE_EXPIRED: Explanation(
        "The certificate has expired",
        "Its end date has passed. It cannot be renewed or extended; a new one is needed.",
        "Issue a new one with notebook 01 under a new name.",
        "01_issue",
        Exit.CHECK_FAILED,
    ),
    Reason.CERTIFICATE_NOT_YET_VALID: Explanation(
        "The certificate is not valid yet",
        "Its start date lies ahead: nearly always a wrong clock on this machine.",
        "Check the clock with `runbook doctor`.",
        "00_start_here",
        Exit.CHECK_FAILED,
    ),
    Reason.CERTIFICATE_UNKNOWN: Explanation(
        "DigiCert ONE does not list this certificate",
        "It was issued to another service user, on another host, or has been deleted.",
        "Check the environment and the API key, then look with notebook 04.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.CERTIFICATE_REFUSED: Explanation(
        "The certificate was refused and nothing known explains it",
        "It is listed, enabled and in date, and the server still refuses it.",
        "Run notebook 02 again in a minute; if it lasts, give DigiCert support the serial number and the time"
        " of the report.",
        "02_verify",
        Exit.CHECK_FAILED,
    ),
    Reason.CHAIN_MISSING: Explanation(
        "The P12 lacks the issuing CA",
        "Without the CA certificate in the P12 the server cannot build the chain: Java sends no certificate "
        "at all, curl and Python are told `unknown ca`.",
        "Make the P12 again with its chain: notebook 01 always includes it.",
        "01_issue",
        Exit.CHECK_FAILED,
    ),
    Reason.WRONG_ENVIRONMENT: Explanation(
        "The credential belongs to another environment",
        "Certificates and API keys work only on the host where they were made. Nothing was sent.",
        "Choose the environment recorded with the credential, or issue one for this environment.",
        "01_issue",
        Exit.USAGE,
    ),
    Reason.CONTROL_FAILED: Explanation(
        "A control that must fail did not fail",
        "The same request was answered without the certificate, or with an unrelated one. So the success of "
        "the real request proves nothing about the certificate.",
        "Check that the clientauth host is used and that no proxy adds credentials, then run notebook 02 again.",
        "02_verify",
        Exit.CHECK_FAILED,
    ),
    Reason.STILL_ACCEPTED: Explanation(
        "A disabled certificate is still let in",
        "DigiCert ONE confirmed that it is disabled and lists it so, and mTLS with it still works.",
        "Run notebook 03 again in some minutes; if it lasts, tell DigiCert support the serial number and the time.",
        "03_access",
        Exit.CHECK_FAILED,
    ),
    Reason.LAST_WORKING_CERTIFICATE: Explanation(
        "It is the last certificate that works",
        "Disabling it cuts the service user off from every operation that demands mTLS.",
        "Issue and verify another first, or name this one in `allow_outage_of`.",
        "01_issue",
        Exit.USAGE,
    ),
    Reason.CERTIFICATE_IN_USE: Explanation(
        "It is the certificate in use",
        "The store's `current` points to it, so programs are using it now.",
        "Put another one in use first, or name this one in `allow_outage_of`.",
        "03_access",
        Exit.USAGE,
    ),
    Reason.WRONG_PASSWORD: Explanation(
        "The password does not open the file",
        "The password is wrong, or the file was written by a newer tool than reads it.",
        "Check the reference in `p12_password`: it must be the one used when the P12 was made.",
        "02_verify",
        Exit.CHECK_FAILED,
    ),
    Reason.P12_WITHOUT_KEY: Explanation(
        "The P12 holds no private key",
        "A certificate without its key cannot authenticate.",
        "Use the P12 from the machine that made the key, or issue a new certificate with notebook 01.",
        "01_issue",
        Exit.CHECK_FAILED,
    ),
    Reason.UNREADABLE_FILE: Explanation(
        "A file cannot be read as what it should be",
        "It is truncated, damaged or of another kind.",
        "Restore it from a backup, or issue a new certificate with notebook 01.",
        "01_issue",
        Exit.CHECK_FAILED,
    ),
    Reason.FILE_NOT_READ: Explanation(
        "A file or folder cannot be read",
        "The operating system refused, or it is a device or the like. What is in it is not known.",
        "Run as a user who may read it, or name another folder.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.FILE_TOO_LARGE: Explanation(
        "A file is too large to be read",
        "What is in it is not known.",
        "Split it, or name a folder without it.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.FILE_GIVEN_UP: Explanation(
        "Reading a file took too long, or too much memory",
        "The file is damaged, or was made to stop whoever reads it. What is in it is not known.",
        "Find out who put it there. Move it away, or replace it with a certificate file that opens at once.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.LINK_NOT_FOLLOWED: Explanation(
        "A link is not followed",
        "Its target has rows of its own (state linked), is a folder outside of those that are named, or is missing.",
        "Name the target's folder in `folders`, or remove a link that leads nowhere.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.NO_CERTIFICATE: Explanation(
        "A file holds no certificate",
        "It lies among certificates and is none.",
        "Nothing, unless a certificate is expected there.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.KEY_IN_PLAIN_TEXT: Explanation(
        "A private key lies unprotected in a file",
        "Whoever reads the file can act as its owner.",
        "Treat the key as exposed: issue a new certificate with notebook 01, disable this one, delete the file.",
        "01_issue",
        Exit.CHECK_FAILED,
    ),
    Reason.P12_NOT_OPENED: Explanation(
        "A P12 was not opened",
        "It does not open without a password, and no password was given. Its certificates are not known.",
        "Set `folders_password` to where its password is; opening it takes about 30 ms.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.KEYSTORE_NOT_READ: Explanation(
        "A key store was not read",
        "It is in a form that only another program reads. What is in it is not known.",
        "For JKS and JCEKS install Java's keytool; export the certificates of any other store as PEM.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.CONTAINER_NOT_OPENED: Explanation(
        "An archive or encrypted file was not opened",
        "Certificates and keys in it are not known.",
        "Unpack it into the folder, or move it away from the certificates.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.KEY_NOT_CHECKED: Explanation(
        "Whether a private key is protected was not found out",
        "It is in a form that is not read, or damaged.",
        "Move it away from the certificates, or replace it with an encrypted PKCS#8 or PKCS#12 file.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.OLD_ENCRYPTION: Explanation(
        "A P12 is encrypted in a way that is no longer read",
        "OpenSSL 3, curl and Node refuse 40-bit RC2, which old key stores still write; its password is no protection.",
        "Issue a new certificate with notebook 01: it writes P12 files that every reader takes.",
        "01_issue",
        Exit.CHECK_FAILED,
    ),
    Reason.UNUSUAL_ENCODING: Explanation(
        "A certificate is encoded in an unusual way",
        "It breaks a rule of RFC 5280. OpenSSL and Windows often accept it; Python, Go or Java may refuse it. "
        "Its dates count as they stand.",
        "Watch its end as any other's. If a client refuses it, ask its issuer for one that keeps to RFC 5280.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.TABLE_NOT_WRITTEN: Explanation(
        "A long table cannot be written",
        "It is too long for the notebook and goes into the folder `tables` beside it, which is not writable.",
        "Run where you may write, or name a folder in the variable RUNBOOK_TABLES.",
        "",
        Exit.UNEXPECTED,
    ),
    Reason.TABLE_CHANGED: Explanation(
        "A table is not as the run left it",
        "The notebook names it with its digest, and the file is missing or was changed before it was archived.",
        "Run again. If it happens again, look for what else writes into the run's folder.",
        "",
        Exit.UNEXPECTED,
    ),
    Reason.KEY_MISMATCH: Explanation(
        "Key and certificate do not belong together",
        "The certificate was made for another key, so it can never authenticate with ours. It was not put into use.",
        "Disable that certificate in notebook 03 and issue a new one under a new name.",
        "03_access",
        Exit.CHECK_FAILED,
    ),
    Reason.LINT_FAILED: Explanation(
        "The issued certificate is not what was asked for",
        "It breaks a rule named above, so it was kept aside and not put into use.",
        "Disable it in notebook 03, give DigiCert support the finding, issue again under a new name.",
        "03_access",
        Exit.CHECK_FAILED,
    ),
    Reason.NO_CREDENTIAL: Explanation(
        "There is no such credential in the store",
        "No certificate of this name has been issued here for this environment.",
        "Issue one with notebook 01, or correct `name`, `environment` or `store`.",
        "01_issue",
        Exit.USAGE,
    ),
    Reason.STORE_NOT_WRITABLE: Explanation(
        "The store cannot be written",
        "The folder belongs to somebody else or lies on a read-only disk. Nothing was sent.",
        "Choose another `store`, or correct the owner of the folder.",
        "00_start_here",
        Exit.USAGE,
    ),
    Reason.STORE_EXPOSED: Explanation(
        "The store can be read by others",
        "The folder or a file in it is open to other users of this machine.",
        "chmod -R go= the store; if a key's password was exposed as well, rotate the certificate.",
        "00_start_here",
        Exit.USAGE,
    ),
    Reason.DISK_FULL: Explanation(
        "There is no space left",
        "A file could not be written completely. What was there before is untouched.",
        "Free some space and run again: it continues where it stopped.",
        "",
        Exit.UNEXPECTED,
    ),
    Reason.BUSY: Explanation(
        "Another run has it in hand",
        "Two at once could each ask for a certificate under the same name, or seal two bags at one place of the "
        "archive. Nothing was changed meanwhile.",
        "Wait until the other has ended, or end it, then run again. If it was killed, its lock is gone with it.",
        "",
        Exit.BUSY,
    ),
    Reason.JOURNAL_DAMAGED: Explanation(
        "The credential's journal does not add up",
        "A line is not what this software writes: it was edited, or a backup was put back. Nothing is guessed from it.",
        "Compare the journal with notebook 04; restore it, or issue under a new name.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.CLOCK_WRONG: Explanation(
        "This machine's clock is wrong",
        "It differs from the server's by more than five minutes: dates in reports would be untrue and "
        "certificates would look expired or not yet valid.",
        "Synchronise the clock (chrony, systemd-timesyncd).",
        "00_start_here",
        Exit.CHECK_FAILED,
    ),
    Reason.CLOCK_WENT_BACK: Explanation(
        "The clock went back",
        "The journal holds an entry later than now. Waiting times would be wrong, so nothing was done.",
        "Synchronise the clock; if the journal was written under a wrong clock, wait until its last entry is past.",
        "00_start_here",
        Exit.CHECK_FAILED,
    ),
    Reason.HOOK_FAILED: Explanation(
        "The deploy hook failed",
        "The new certificate is in place, and whether programs use it is unknown. The old one stays enabled.",
        "Correct the hook and run 05 again: it is called again. To go back, choose the action “roll back”.",
        "05_rotate",
        Exit.CHECK_FAILED,
    ),
    Reason.ROTATION_POINTLESS: Explanation(
        "A new certificate would not last longer",
        "No certificate outlives its service user, so a rotation would change nothing. Nothing was done.",
        "Have an account administrator extend the service user's end date, then run 05 again.",
        "05_rotate",
        Exit.CHECK_FAILED,
    ),
    Reason.STATE_CONTRADICTION: Explanation(
        "What is there is not what the journal says",
        "Somebody else changed it, or the store was put back from an older backup. Nothing is guessed, and nothing was "
        "changed.",
        "Look with notebook 04, set right what is named above, and run 05 again; or choose the action “roll back”.",
        "04_inventory",
        Exit.CHECK_FAILED,
    ),
    Reason.SECRET_IN_ARTEFACT: Explanation(
        "A secret was found in what would have been archived",
        "The file that held it was withheld and the run counts as failed. The secret has not been archived.",
        "Find the cell named above and remove what shows the secret; replace the secret if the notebook was "
        "saved anywhere else.",
        "07_troubleshoot",
        Exit.UNEXPECTED,
    ),
    Reason.CELL_TIMEOUT: Explanation(
        "A cell took too long and was stopped",
        "What it did until then stands; what came after it did not run.",
        "Find out what it waited for; allow more time with `--cell-timeout`. For an issuance, run again: it continues.",
        "07_troubleshoot",
        Exit.UNEXPECTED,
    ),
    Reason.NOT_SAVED: Explanation(
        "The executed notebook could not be saved",
        "Cells ran whose outcome is in no file, and those that follow did not. What they changed is written down where "
        "it was changed: in the credential's journal and in DigiCert ONE.",
        "Free space on the archive's disk, look with notebook 04, then run again: it goes on where it stopped.",
        "04_inventory",
        Exit.UNEXPECTED,
    ),
    Reason.RUN_DEADLINE: Explanation(
        "The whole run took too long and was stopped",
        "What had run until then stands; what came after it did not run.",
        "Find out what it waited for; allow more time with `--deadline`. For an issuance, run again: it continues.",
        "07_troubleshoot",
        Exit.UNEXPECTED,
    ),
    Reason.KERNEL_DIED: Explanation(
        "The notebook's kernel died",
        "Killed from outside, most often for want of memory.",
        "Look at the system's log for the out-of-memory killer. For an issuance, run again: it continues.",
        "07_troubleshoot",
        Exit.UNEXPECTED,
    ),
    Reason.KERNEL_NOT_STARTED: Explanation(
        "The notebook's kernel did not start",
        "No cell has run: the kernel that the notebook names is not installed here, or it ended while starting.",
        "Run it with the project's own `.venv/bin/runbook`; `jupyter kernelspec list` shows the kernels there are.",
        "",
        Exit.UNEXPECTED,
    ),
    Reason.ENGINE_FAILED: Explanation(
        "No process could be made for the run",
        "The process that is forked for each run does not start, or is killed again and again: memory or the number of "
        "processes may be at its limit.",
        'Free memory and run again. If it stays, write `{"runbook": {"engine": "papermill"}}` into the notebook\'s '
        "metadata: it then gets a kernel of its own.",
        "",
        Exit.UNEXPECTED,
    ),
    Reason.INTERRUPTED: Explanation(
        "The run was interrupted",
        "Ctrl-C or a termination signal ended it. What had run until then stands.",
        "Run the same again: issuing, rotating and taking access away go on where they stopped.",
        "",
        Exit.UNEXPECTED,
    ),
    Reason.NOTEBOOK_STOPPED_EARLY: Explanation(
        "The notebook ended before its last step",
        "It did not reach its end and reported no error, as after `sys.exit(0)`. It counts as failed.",
        "Remove what ended it early.",
        "07_troubleshoot",
        Exit.UNEXPECTED,
    ),
    Reason.NOTEBOOK_ERROR: Explanation(
        "A cell of the notebook failed",
        "An error that this project does not know: see the notebook for the whole of it.",
        "Read the failed cell in run.ipynb; report it if the notebook is ours and unchanged.",
        "07_troubleshoot",
        Exit.UNEXPECTED,
    ),
    Reason.UNEXPECTED: Explanation(
        "An error that this project does not expect",
        "A fault of this project or of a library. What ran has run; what is known of it is archived.",
        "Report it with the bag's unexpected.log, or with what `runbook -v COMMAND` shows: both name places only.",
        "07_troubleshoot",
        Exit.UNEXPECTED,
    ),
    Reason.NOT_PROVEN: Explanation(
        "A step did not find what it should, or could not look",
        "The run reached its end and its report is whole, but it does not show what it was run to show.",
        "Read the step named above in report.html; `runbook doctor` looks at the connection and the secrets.",
        "07_troubleshoot",
        Exit.CHECK_FAILED,
    ),
    Reason.ACCOUNTS_FAILED: Explanation(
        "Some accounts of the batch are not done",
        "Each of them was run, and its own report says why it did not do what it should have. The others are done.",
        "Look at the batch's report, which lists them by reason; mend what it names, and run the batch again.",
        "07_troubleshoot",
        Exit.CHECK_FAILED,
    ),
    Reason.ACCOUNTS_MISSING: Explanation(
        "The batch was stopped before every account had its end",
        "What was done is archived; the accounts without an end are listed as missing.",
        "Run the same command again within 12 hours: it does only what is missing. Later, it begins anew.",
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
        "The archive has a signer, and its key could not be used. The evidence is kept and chained, and says of itself "
        "that nobody signed it; the signature of the next signed bag covers it too.",
        "Put the passphrase where its reference in certs/signer.json points, then run again.",
        "",
        Exit.UNEXPECTED,
    ),
    Reason.NOT_STAMPED: Explanation(
        "There is no time stamp yet",
        "The time-stamp authority did not give one that holds. The bag is sealed without it, and everything else about "
        "it stands; until the stamp comes, only the machine's own clock says when.",
        "Nothing at once: the next run asks again. `runbook archive stamp DIR` does so now, for all that are missing.",
        "",
        Exit.UNEXPECTED,
    ),
    Reason.SIGNER_SHUT: Explanation(
        "The archive's signer cannot sign",
        "An entry of the archive's own (a signer, an authority, an expectation, a hold, a purge, an export) must be "
        "signed. Nothing was changed.",
        "Put the passphrase where its reference in certs/signer.json points, then say it again.",
        "",
        Exit.UNEXPECTED,
    ),
    Reason.NOT_WHOLE: Explanation(
        "The archive is not as it was sealed",
        "To purge or export it now would make what does not hold look as if it had been in order. Nothing was changed.",
        "Run `runbook archive verify DIR`, clear up every line it prints (a backup helps), then say it again.",
        "",
        Exit.UNEXPECTED,
    ),
    Reason.NOTHING_EXPECTED: Explanation(
        "Nothing is declared that the archive should hold",
        "Without an expectation in its chain that holds for the time asked about, nobody can say what is missing.",
        "Declare one: `runbook archive expect FILE --archive DIR`; parameters/expected/nightly.yaml is a sample.",
        "",
        Exit.CHECK_FAILED,
    ),
}
