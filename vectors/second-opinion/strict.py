"""Strict readings that several stages share: JSON, base64, times."""

import base64
import binascii
import json
import re

MAX_DEPTH = 64


class Refused(Exception):
    """Input that is not what its format allows."""


def _object(pairs):
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise Refused("duplicate name")
    return dict(pairs)


def _no(_):
    raise Refused("number that is no integer")


def _depth(value, depth=0):
    if depth > MAX_DEPTH:
        raise Refused("too deep")
    if isinstance(value, dict):
        for inner in value.values():
            _depth(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _depth(inner, depth + 1)


def json_value(data, most):
    """One JSON value: UTF-8, no duplicate names, integers only, bounded."""
    if len(data) > most:
        raise Refused("too large")
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_object, parse_float=_no, parse_constant=_no
        )
    except (ValueError, RecursionError) as error:
        raise Refused(str(error)) from error
    _depth(value)
    return value


def members(value, wanted):
    """Refuses an object whose members are not exactly `wanted`, name to type."""
    if not isinstance(value, dict) or set(value) != set(wanted):
        raise Refused("members")
    for name, kind in wanted.items():
        if type(value[name]) is not kind:
            raise Refused(f"type of {name}")
    return value


def base64_bytes(text):
    """Padded standard base64 in its one spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused("base64") from error
    if base64.b64encode(data).decode() != text:
        raise Refused("base64 spelling")
    return data


TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def time_text(text):
    """A time in the one spelling; times of equal length compare as text."""
    if not TIME.fullmatch(text):
        raise Refused("time")
    return text
