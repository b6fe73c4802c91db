"""Tax rates in basis points (1 % = 100) and the tax on one line."""

from __future__ import annotations

from .money import Money

RATES = {
    "standard": 1900,
    "reduced": 700,
    "zero": 0,
}


def rate(name: str) -> int:
    """The rate called `name` in basis points."""
    try:
        return RATES[name]
    except KeyError:
        raise ValueError(f"unknown tax rate: {name!r}") from None


def tax_on(net: Money, rate_name: str) -> Money:
    """Tax on a net amount, rounded half to even, as printed on the line."""
    return net.times(rate(rate_name), 10_000)
