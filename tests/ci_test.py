#!/usr/bin/env python3
"""What .ci/run asks for, and what it says of it: ci_test.py CI_RUN [unittest arguments]

It runs in a tree of its own, whose tests/run.sh is ours and says what it is told to.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

CI_RUN = ''
RUN = '''#!/bin/bash
echo "$*" >>"$(dirname "$0")/calls"
cat "$(dirname "$0")/$1"
'''


class Ci(unittest.TestCase):
    def setUp(self):
        self.tree = pathlib.Path(tempfile.mkdtemp(prefix='millrace-ci-'))
        self.addCleanup(shutil.rmtree, self.tree)
        for folder in ('.ci', 'tests'):
            (self.tree / folder).mkdir()
        shutil.copy(CI_RUN, self.tree / '.ci' / 'run')
        (self.tree / 'tests' / 'run.sh').write_text(RUN, encoding='utf-8')
        (self.tree / 'tests' / 'run.sh').chmod(0o755)

    def run_ci(self, **last_lines):
        """(exit status, its last line); `last_lines` by preset, asan for asan-ubsan."""
        for preset, said in last_lines.items():
            name = {'asan': 'asan-ubsan'}.get(preset, preset)
            (self.tree / 'tests' / name).write_text(f'much\n{said}\n', encoding='utf-8')
        done = subprocess.run([self.tree / '.ci' / 'run'], capture_output=True, text=True,
                              check=False, timeout=60)
        return done.returncode, done.stdout.splitlines()[-1]

    def test_all_three_trees_are_tested_and_counted(self):
        said = self.run_ci(release='4 passed, 0 failed', asan='3 passed, 0 failed',
                           tsan='2 passed, 0 failed')
        self.assertEqual(said, (0, '9 passed, 0 failed'))
        calls = (self.tree / 'tests' / 'calls').read_text(encoding='utf-8').split()
        self.assertEqual(calls, ['release', 'asan-ubsan', 'tsan'])

    def test_a_failure_in_any_of_them_fails_and_the_others_are_still_asked(self):
        said = self.run_ci(release='3 passed, 1 failed', asan='3 passed, 0 failed',
                           tsan='2 passed, 0 failed')
        self.assertEqual(said, (1, '8 passed, 1 failed'))

    def test_a_tree_that_does_not_say_how_it_went_has_failed(self):
        said = self.run_ci(release='4 passed, 0 failed', asan='the build failed',
                           tsan='2 passed, 0 failed')
        self.assertEqual(said, (1, '6 passed, 1 failed'))


if __name__ == '__main__':
    CI_RUN = sys.argv.pop(1)
    unittest.main()
