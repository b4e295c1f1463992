"""Random commands are planned and carried out: both say the same, and a plan changes nothing. Only
millraced. Seeds are fixed here; plan_deed.py goes on with others for as long as one likes."""

import os
import unittest

from plan_deed import Checker, report
from support.case import BACKEND

# One seed in so many: a daemon with sanitizers takes ten times as long.
CASE_STRIDE = int(os.environ.get('CASE_STRIDE', 1))


class PlanAndDeed(unittest.TestCase):
    def setUp(self):
        self.checker = Checker(BACKEND)
        self.addCleanup(self.checker.close)

    def come_out_as_planned(self, seeds):
        for seed in seeds[::CASE_STRIDE]:
            for lines, finding in self.checker.run_seed(seed):
                self.fail(report(seed, *self.checker.shorten(lines, finding)))
        counts = self.checker.counts
        self.assertLess(counts['commands'] // 4, counts['accepted'])  # else little is compared

    def test_commands_of_the_first_seeds(self):
        self.come_out_as_planned(range(1, 6))

    def test_commands_of_more_seeds(self):
        self.come_out_as_planned(range(6, 11))

    def test_commands_of_the_last_seeds(self):
        self.come_out_as_planned(range(11, 16))


if __name__ == '__main__':
    unittest.main()
