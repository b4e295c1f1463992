#!/usr/bin/env python3
"""The quickstart's verdict: it is asked of qemu-img, and a failure is told, by words and by status.

    quickstart_test.py QUICKSTART [unittest arguments]

A qemu-img of the test's own, first in PATH, says what the real one would say of a broken image.
"""

import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import unittest

import interrupt_at_poll

QUICKSTART = ''
FAKE = '''#!/bin/sh
echo "$@" >>"$CALLS"
case $1 in
  check) exit {check} ;;
  compare) exit {compare} ;;
esac
exit 99
'''


class Verdict(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='millrace-quickstart-'))
        self.addCleanup(shutil.rmtree, self.folder)
        self.bin = self.folder / 'bin'
        self.images = self.folder / 'images'
        self.bin.mkdir()
        self.images.mkdir()

    def fake_qemu_img(self, **statuses):
        path = self.bin / 'qemu-img'
        path.write_text(FAKE.format(**statuses))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def quickstart(self, path, *words, expect):
        done = subprocess.run(
            [QUICKSTART, '--small', *words], capture_output=True, text=True, timeout=300,
            check=False, env={**os.environ, 'PATH': path, 'TMPDIR': str(self.images),
                              'CALLS': str(self.folder / 'calls')})
        self.assertEqual(done.returncode, expect, (done.stdout + done.stderr)[-3000:])
        return done.stdout

    def faked(self, *words, expect):
        return self.quickstart(f'{self.bin}:{os.environ["PATH"]}', *words, expect=expect)

    def calls(self):
        return (self.folder / 'calls').read_text().splitlines()

    def kept(self, said):
        """The folder that it says it kept, which is there, with 2 chains of 12 images."""
        folder = pathlib.Path(re.search(r'^the images are kept in (.+)$', said, re.M)[1])
        self.assertEqual(len(list(folder.glob('*.qcow2'))), 24)
        return folder

    def test_words_that_it_does_not_know_are_usage(self):
        for words in (('--small=5',), ('--keep=no',), ('--io=threads', '--io=bogus'), ('--io',),
                      ('--runs=0',), ('--runs=',), ('--seed=x',)):
            said = self.faked(*words, expect=2)
            self.assertEqual(said, '')
            self.assertEqual(list(self.images.iterdir()), [])

    def test_a_check_that_fails_is_told_with_the_image_and_the_seed(self):
        self.fake_qemu_img(check=3, compare=0)
        said = self.faked('--seed=7', expect=1)
        folder = self.kept(said)
        self.assertEqual(said.splitlines()[-1],
                         f'FAILED with seed 7: DATA_LOSS: qemu-img check of {folder}/a-00.qcow2 '
                         'ended with 3')
        self.assertNotIn('all is well', said)
        self.assertEqual(len(self.calls()), 1)

    def test_a_compare_that_fails_is_told_with_the_image(self):
        self.fake_qemu_img(check=0, compare=1)
        said = self.faked(expect=1)
        folder = self.kept(said)
        self.assertEqual(said.splitlines()[-1],
                         f'FAILED with seed 1: DATA_LOSS: qemu-img compare of '
                         f'{folder}/a-11.qcow2 ended with 1')

    def test_every_image_is_checked_and_both_tops_are_compared(self):
        self.fake_qemu_img(check=0, compare=0)
        said = self.faked(expect=0)
        self.assertEqual(said.count(': qemu-img check and compare agree\n'), 2)
        asked = [(words[0], pathlib.Path(words[-1]).name)
                 for words in map(str.split, self.calls()) if words[0] == 'check']
        names = [f'{chain}-{image:02}.qcow2' for chain in 'ab' for image in range(12)]
        self.assertEqual(asked, [('check', name) for name in names])
        compared = [pathlib.Path(words[-2]).name
                    for words in map(str.split, self.calls()) if words[0] == 'compare']
        self.assertEqual(compared, ['a-11.qcow2', 'b-11.qcow2'])
        self.assertEqual(list(self.images.iterdir()), [], 'a success leaves nothing behind')

    def environment(self):
        return {**os.environ, 'PATH': f'{self.bin}:{os.environ["PATH"]}',
                'TMPDIR': str(self.images), 'CALLS': str(self.folder / 'calls')}

    # The line with which each part begins, or has begun, and that with which it would end: the images
    # are built, the jobs are at work, the second chain is verified.
    PARTS = ((signal.SIGINT, r'^engine: ', r'^built 2 chains'),
             (signal.SIGTERM, r'^a: a throttle filter was inserted', r'^chain a: reopened'),
             (signal.SIGINT, r'^chain a: reopened', r'^chain b: reopened'))

    def test_an_interrupt_ends_every_part_at_once_and_leaves_nothing_behind(self):
        if not interrupt_at_poll.can_interrupt():
            self.skipTest('this host lets no program trace another')
        self.fake_qemu_img(check=0, compare=0)
        for number, begin, end in self.PARTS:
            def at_poll(pid):
                said = pathlib.Path(f'/proc/{pid}/fd/1').read_text()
                if not re.search(begin, said, re.M):
                    return False
                os.kill(pid, number)
                return True

            with self.subTest(begin=begin):
                done = interrupt_at_poll.run_watched([QUICKSTART, '--small'], at_poll, timeout=300,
                                                     env=self.environment())
                self.assertEqual(done.returncode, 130, done.stdout + done.stderr)
                self.assertNotRegex(done.stdout, re.compile(end, re.M))
                self.assertIn('once more ends the program at once\n', done.stdout)
                self.assertEqual(done.stdout.splitlines()[-1], 'interrupted')
                self.assertEqual(list(self.images.iterdir()), [])

    def test_an_interrupt_while_qemu_img_is_asked_ends_it_with_that_answer(self):
        os.mkfifo(self.folder / 'asked')
        os.mkfifo(self.folder / 'answer')
        self.fake_qemu_img(check=0, compare=0)
        path = self.bin / 'qemu-img'
        path.write_text(path.read_text().replace(
            'case $1', f'case $* in *b-03*) : >{self.folder}/asked; : <{self.folder}/answer ;; esac\n'
            'case $1'))
        program = subprocess.Popen([QUICKSTART, '--small'], stdout=subprocess.PIPE, text=True,
                                   env=self.environment())
        (self.folder / 'asked').read_bytes()  # which waits for it
        program.send_signal(signal.SIGTERM)
        (self.folder / 'answer').write_bytes(b'')
        said, _ = program.communicate(timeout=300)
        self.assertEqual(program.returncode, 130, said)
        self.assertEqual(said.splitlines()[-1], 'interrupted')
        self.assertIn('b-03.qcow2', self.calls()[-1])
        self.assertEqual(list(self.images.iterdir()), [])

    @unittest.skipUnless(shutil.which('qemu-img'), 'qemu-img is not installed')
    def test_the_real_qemu_img_agrees_on_both_chains(self):
        said = self.quickstart(os.environ['PATH'], expect=0)
        for chain in 'ab':
            self.assertIn(f'\nchain {chain}: qemu-img check and compare agree\n', said)
        self.assertRegex(said.splitlines()[-1], r'^all is well, after [\d.]+ s$')

    def test_without_qemu_img_it_says_that_it_was_not_asked(self):
        said = self.quickstart(str(self.bin), expect=0)
        self.assertEqual(said.count(': qemu-img is not installed: not asked\n'), 2)
        self.assertNotIn('agree', said)


if __name__ == '__main__':
    QUICKSTART = os.path.abspath(sys.argv[1])
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
