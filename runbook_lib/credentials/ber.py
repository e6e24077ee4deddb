"""Decodes BER with pyasn1: any bytes give a value or a ValueError."""

from __future__ import annotations

from typing import Any

from pyasn1.codec.ber import decoder
from pyasn1.error import PyAsn1Error, SubstrateUnderrunError


class TruncatedBer(ValueError):
    """The data ends before its first element does."""


def decode(encoded: bytes, kind: Any) -> tuple[Any, bytes]:
    """Read the first element as `kind`, a type of pyasn1. Returns its value and the remaining bytes.

    Raises:
        TruncatedBer: if the element is longer than the data.
        ValueError: if the element is of another type, or not BER.
    """
    try:
        value, rest = decoder.decode(encoded, asn1Spec=kind)
    except (SubstrateUnderrunError, OverflowError) as error:  # OverflowError: a length of more than 2**63 bytes
        raise TruncatedBer(str(error)) from None
    except (PyAsn1Error, IndexError) as error:  # IndexError: a BIT STRING of no bytes
        raise ValueError(str(error)) from None
    return value, rest
