"""Amounts of money as whole cents. No floats anywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering

_PATTERN = re.compile(r"^(-?)(\d+)(?:\.(\d{2}))?$")


def divide_half_even(numerator: int, denominator: int) -> int:
    """`numerator / denominator`, rounded to the nearest whole number, halves to the even one."""
    if denominator <= 0:
        raise ValueError("denominator must be positive")
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    if twice > denominator or (twice == denominator and quotient % 2 == 1):
        quotient += 1
    return quotient


@total_ordering
@dataclass(frozen=True)
class Money:
    """An amount in cents of one currency."""

    cents: int
    currency: str = "EUR"

    @classmethod
    def parse(cls, text: str, currency: str = "EUR") -> "Money":
        """Read `12`, `12.30` or `-0.05`; anything else is refused."""
        match = _PATTERN.match(text.strip())
        if match is None:
            raise ValueError(f"not an amount: {text!r}")
        sign, whole, fraction = match.groups()
        cents = int(whole) * 100 + int(fraction or 0)
        return cls(-cents if sign else cents, currency)

    def _same(self, other: "Money") -> None:
        if self.currency != other.currency:
            raise ValueError(f"cannot mix {self.currency} and {other.currency}")

    def __add__(self, other: "Money") -> "Money":
        self._same(other)
        return Money(self.cents + other.cents, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        self._same(other)
        return Money(self.cents - other.cents, self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.cents, self.currency)

    def __lt__(self, other: "Money") -> bool:
        self._same(other)
        return self.cents < other.cents

    def times(self, numerator: int, denominator: int = 1) -> "Money":
        """This amount times a fraction, rounded half to even."""
        return Money(divide_half_even(self.cents * numerator, denominator), self.currency)

    def __str__(self) -> str:
        sign = "-" if self.cents < 0 else ""
        whole, fraction = divmod(abs(self.cents), 100)
        return f"{sign}{whole}.{fraction:02d} {self.currency}"
