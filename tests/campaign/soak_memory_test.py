#!/usr/bin/env python3
"""What the soak makes of a daemon's resident memory: leaks of which size it takes for one."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'hypervisor'))

from soak import MIB, Failure, Memory  # noqa: E402


def memory(iterations, resident):
    """Of a daemon that has resident(i) bytes after iteration i."""
    noted = Memory()
    for i in range(iterations):
        noted.note(resident(i))
    return noted


class SoakMemory(unittest.TestCase):
    def test_what_stays_or_shakes_is_no_growth(self):
        noted = memory(10000, lambda i: 40 * MIB + (i % 7) * 500000)
        noted.judge()
        self.assertEqual(noted.counts(), {
            'first resident bytes': 40 * MIB, 'last resident bytes': 40 * MIB + 3 * 500000,
            'last growth of resident bytes': 0})

    def test_what_a_daemon_takes_until_it_is_warm_is_no_growth(self):
        memory(10000, lambda i: 30 * MIB + min(i, 900) * 8192).judge()

    def test_a_leak_of_a_hundred_and_fifty_bytes_an_iteration_is_found_in_ten_thousand(self):
        with self.assertRaisesRegex(Failure, r'1200000 bytes resident above that of the second'):
            memory(10000, lambda i: 40 * MIB + i * 150).judge()

    def test_what_is_returned_at_the_end_is_found_no_less(self):
        with self.assertRaises(Failure):
            memory(10000, lambda i: 40 * MIB + (i * 700 if i < 9900 else 0)).judge()

    def test_a_leap_ends_the_run(self):
        with self.assertRaisesRegex(Failure, 'after 100 iterations'):
            memory(200, lambda i: 40 * MIB + (9 * MIB if i == 150 else 0))

    def test_the_windows_must_not_meet(self):
        noted = memory(2999, lambda i: 40 * MIB + i * 2600)
        noted.judge()
        self.assertNotIn('last growth of resident bytes', noted.counts())
        with self.assertRaises(Failure):
            memory(3000, lambda i: 40 * MIB + i * 2600).judge()


if __name__ == '__main__':
    sys.exit(unittest.main())
