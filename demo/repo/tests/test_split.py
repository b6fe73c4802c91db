"""Whatever is split adds up again."""

import unittest

from ledger import Money, split_by_weight, split_evenly


def cents(shares):
    return [share.cents for share in shares]


class SplitTest(unittest.TestCase):
    def test_a_cent_that_is_left_over_goes_to_the_first(self):
        self.assertEqual(cents(split_evenly(Money(1000), 3)), [334, 333, 333])

    def test_the_largest_remainder_gets_the_cent(self):
        self.assertEqual(cents(split_by_weight(Money(100), [1, 1, 4])), [17, 17, 66])

    def test_shares_add_up(self):
        for total in [0, 1, 2, 99, 100, 101, 12345]:
            for weights in [[1], [1, 1], [3, 2, 1], [0, 5, 7, 11]]:
                with self.subTest(total=total, weights=weights):
                    shares = split_by_weight(Money(total), weights)
                    self.assertEqual(sum(cents(shares)), total)

    def test_weights_must_make_sense(self):
        for weights in [[], [0, 0], [1, -1]]:
            with self.subTest(weights=weights), self.assertRaises(ValueError):
                split_by_weight(Money(100), weights)


if __name__ == "__main__":
    unittest.main()
