"""Invoices: lines, a discount on the whole, and totals."""

from __future__ import annotations

from dataclasses import dataclass, field

from .money import Money
from .split import split_by_weight
from .tax import tax_on


@dataclass(frozen=True)
class Line:
    """One position of an invoice. A negative quantity is a return."""

    text: str
    quantity: int
    unit_price: Money
    tax: str = "standard"

    @property
    def net(self) -> Money:
        """The line's price before discount and tax."""
        return self.unit_price.times(self.quantity)


@dataclass
class Invoice:
    """An invoice, or a credit note if its total is negative."""

    number: str
    lines: list[Line] = field(default_factory=list)
    discount: Money = Money(0)

    def discounts(self) -> list[Money]:
        """The discount of each line, in proportion to its price; they add up to `discount`."""
        return split_by_weight(self.discount, [abs(line.net.cents) for line in self.lines])

    def net_lines(self) -> list[Money]:
        """The price of each line after its discount."""
        if self.discount.cents == 0:
            return [line.net for line in self.lines]
        return [line.net - off for line, off in zip(self.lines, self.discounts())]

    def net(self) -> Money:
        """The sum before tax."""
        return sum(self.net_lines(), Money(0))

    def tax(self) -> Money:
        """The tax, line by line as printed."""
        pairs = zip(self.net_lines(), self.lines)
        return sum((tax_on(net, line.tax) for net, line in pairs), Money(0))

    def total(self) -> Money:
        """What is to be paid; negative for a credit note."""
        return self.net() + self.tax()
