"""Invoices as CSV, one row per line, amounts as the accountants' import wants them."""

from __future__ import annotations

import csv
import io

from .invoice import Invoice
from .money import Money
from .tax import tax_on

HEADER = ["invoice", "text", "quantity", "net", "tax"]


def plain(amount: Money) -> str:
    """`12.30` without the currency."""
    return str(amount).split(" ")[0]


def to_csv(invoice: Invoice) -> str:
    """The invoice's lines after discount, and a row with the totals."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    for line, net in zip(invoice.lines, invoice.net_lines()):
        tax = tax_on(net, line.tax)
        writer.writerow([invoice.number, line.text, line.quantity, plain(net), plain(tax)])
    writer.writerow([invoice.number, "TOTAL", "", plain(invoice.net()), plain(invoice.tax())])
    return out.getvalue()
