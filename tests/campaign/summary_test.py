#!/usr/bin/env python3
"""Which slices a summary since a commit takes, in a repository of its own."""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

import summary

NOBODY = ('-c', 'user.name=nobody', '-c', 'user.email=nobody@example.org')


@unittest.skipUnless(shutil.which('git'), 'git is not installed')
class Since(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        here = mock.patch.object(summary, 'HERE', pathlib.Path(folder.name))
        here.start()
        self.addCleanup(here.stop)
        self.git('init', '-q')
        self.made = 0

    def git(self, *words):
        done = subprocess.run(['git', *NOBODY, *words], cwd=summary.HERE, capture_output=True,
                              text=True, check=True)
        return done.stdout.strip()

    def commit(self):
        self.made += 1  # without a word of its own it would be the same as one of the same second
        self.git('commit', '-q', '--allow-empty', '-m', f'number {self.made}')
        return self.git('rev-parse', '--short=12', 'HEAD')

    def kept(self, since, *commits):
        kept, unknown = summary.split([{'commit': commit} for commit in commits], since)
        return [entry['commit'] for entry in kept], unknown

    def test_takes_the_commit_itself_and_what_came_after(self):
        before, mend, after = self.commit(), self.commit(), self.commit()
        self.assertEqual(self.kept(mend, before, mend, after, after),
                         ([mend, after, after], {}))

    def test_a_branch_without_it_does_not_contain_it(self):
        before, mend = self.commit(), self.commit()
        self.git('checkout', '-q', before)
        beside = self.commit()
        self.assertEqual(self.kept(mend, beside), ([], {}))

    def test_a_tree_with_changes_is_one_of_its_commit(self):
        mend = self.commit()
        self.assertEqual(self.kept(mend, mend + '-dirty'), ([mend + '-dirty'], {}))

    def test_unknown_commits_are_left_out_and_told(self):
        mend = self.commit()
        self.assertEqual(self.kept(mend, '123456789abc', mend, '123456789abc-dirty', ''),
                         ([mend], {'123456789abc': 2, '': 1}))

    def test_a_commit_that_is_not_there_is_refused(self):
        self.commit()
        done = subprocess.run([sys.executable, '-B', summary.__file__, '--since', 'no-such-thing'],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn('the repository holds no commit no-such-thing', done.stderr)


if __name__ == '__main__':
    sys.exit(unittest.main())
