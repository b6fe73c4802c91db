"""Shares of an amount that add up to it exactly."""

from __future__ import annotations

from typing import Sequence

from .money import Money


def split_evenly(total: Money, parts: int) -> list[Money]:
    """`parts` shares that differ by at most one cent and add up to `total`."""
    return split_by_weight(total, [1] * parts)


def split_by_weight(total: Money, weights: Sequence[int]) -> list[Money]:
    """Shares in proportion to `weights` that add up to `total`.

    Largest remainder method: every share is rounded down first, then the cents that are left over go
    to the shares that lost most, the earlier one first when two lost the same.
    """
    if not weights or min(weights) < 0 or sum(weights) == 0:
        raise ValueError("weights must not be negative, and not all zero")
    whole = sum(weights)
    shares = []
    lost = []
    for index, weight in enumerate(weights):
        exact = total.cents * weight
        share = int(exact / whole)
        shares.append(share)
        lost.append((exact - share * whole, -index))
    left = total.cents - sum(shares)
    for _, negative_index in sorted(lost, reverse=True)[:left]:
        shares[-negative_index] += 1
    return [Money(share, total.currency) for share in shares]
