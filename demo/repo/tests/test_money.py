"""Amounts and the rounding rule."""

import unittest

from ledger.money import Money, divide_half_even


class RoundingTest(unittest.TestCase):
    def test_halves_go_to_the_even_neighbour(self):
        cases = {(1, 2): 0, (3, 2): 2, (5, 2): 2, (-1, 2): 0, (-3, 2): -2, (-5, 2): -2}
        for (numerator, denominator), expected in cases.items():
            with self.subTest(numerator=numerator):
                self.assertEqual(divide_half_even(numerator, denominator), expected)

    def test_everything_else_goes_to_the_nearest(self):
        self.assertEqual(divide_half_even(7, 4), 2)
        self.assertEqual(divide_half_even(-7, 4), -2)
        self.assertEqual(divide_half_even(-5, 4), -1)


class MoneyTest(unittest.TestCase):
    def test_text_round_trip(self):
        for text in ["0.00", "12.30", "-0.05", "1000000.01"]:
            self.assertEqual(str(Money.parse(text)), f"{text} EUR")

    def test_what_is_not_an_amount_is_refused(self):
        for text in ["", "1.5", "1,50", "12.345", "1e3", "--1"]:
            with self.subTest(text=text), self.assertRaises(ValueError):
                Money.parse(text)

    def test_currencies_do_not_mix(self):
        with self.assertRaises(ValueError):
            Money(1) + Money(1, "USD")


if __name__ == "__main__":
    unittest.main()
