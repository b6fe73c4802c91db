"""Invoices and credit notes, to the cent."""

import unittest

from ledger import Invoice, Line, Money
from ledger.export import to_csv


def sample(sign):
    lines = [
        Line("Coffee beans, 1 kg", sign * 3, Money(1299), "reduced"),
        Line("Paper filters", sign * 10, Money(249)),
        Line("Grinder burrs", sign * 1, Money(3333)),
    ]
    return Invoice("2026-0117", lines, Money(sign * 500))


class InvoiceTest(unittest.TestCase):
    def test_discount_reaches_the_lines_in_full(self):
        invoice = sample(1)
        self.assertEqual(sum(d.cents for d in invoice.discounts()), 500)
        self.assertEqual(invoice.net(), Money(9720 - 500))

    def test_credit_note_takes_back_exactly_what_was_charged(self):
        invoice, credit_note = sample(1), sample(-1)
        self.assertEqual(credit_note.net(), -invoice.net())
        self.assertEqual(credit_note.total(), -invoice.total())

    def test_tax_is_rounded_per_line(self):
        invoice = Invoice("1", [Line("a", 1, Money(13)), Line("b", 1, Money(13))])
        self.assertEqual(invoice.tax(), Money(4))

    def test_csv_has_one_row_per_line_and_a_total(self):
        rows = to_csv(sample(1)).splitlines()
        self.assertEqual(len(rows), 5)
        self.assertTrue(rows[-1].startswith("2026-0117,TOTAL,,92.20,"))


if __name__ == "__main__":
    unittest.main()
