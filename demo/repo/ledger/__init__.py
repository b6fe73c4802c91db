"""Invoices in exact cents."""

from .invoice import Invoice, Line
from .money import Money
from .split import split_by_weight, split_evenly

__all__ = ["Invoice", "Line", "Money", "split_by_weight", "split_evenly"]
