#!/usr/bin/env python3
"""Ctrl-C and SIGTERM, at any point of any command of `millrace`: the first one ends it, it says so,
its exit status is 130, and what it leaves is an image. Or its work was done by then: its exit status
is 0, and nobody is told that anything was interrupted.

    cli_interrupt_test.py PROGRAM [unittest arguments]

No clock decides how far a command has come: interrupt_at_poll.py stops it where it goes to wait for
the n-th time, and sends the signal there.
"""

import itertools
import json
import os
import pathlib
import re
import signal
import sys
import unittest

import cli_test
import interrupt_at_poll
from cli_test import CORRUPT, FAILURE, INTERRUPTED, SUCCESS, Cli, needs_qemu

# How often io_uring waits is the host's affair.
IO = ('--io', 'threads')
HEARD = 'once more ends the program at once\n'


def points():
    """1, 2, 3, 5, 9, 17 ...: much of the start, where images are opened, and some of the long rest."""
    yield 1
    for power in itertools.count():
        yield 1 + 2**power


@needs_qemu
class Interrupts(Cli):
    NAMES = ('base.qcow2', 'mid.qcow2', 'top.qcow2')

    def setUp(self):
        if not interrupt_at_poll.can_interrupt():
            self.skipTest('this host lets no program trace another')
        super().setUp()
        self.chain(*self.NAMES)

    def interrupted(self, *words, prepare=lambda: None):
        """Yields what each interrupt made of the command, until one would come too late."""
        for n in points():
            prepare()
            number = signal.SIGINT if n in (1, 3, 9, 33) else signal.SIGTERM
            done = interrupt_at_poll.run_interrupted([cli_test.PROGRAM, *words, *IO], number, n,
                                                     cwd=self.folder)
            if not done.has_come:
                self.assertGreater(n, 3, 'it never waited')
                self.assertEqual(done.returncode, SUCCESS, done.stderr)
                return
            with self.subTest(words=words, n=n):
                self.assertIn(done.returncode, (INTERRUPTED, SUCCESS), done.stderr)
                if done.returncode == INTERRUPTED:
                    self.assertIn(HEARD, done.stderr)
                    self.assertRegex(done.stderr.splitlines()[-1], r'^millrace: interrupted: ')
                else:
                    self.assertNotIn('interrupted', done.stderr)
                yield done

    def test_what_only_looks_ends_at_once_and_changes_nothing(self):
        before = self.bytes_of(*self.NAMES)
        for words in (('info', '--chain', 'top.qcow2'),
                      ('map', 'top.qcow2'), ('graph', 'top.qcow2'), ('check', 'top.qcow2'),
                      ('stream', '--dry-run', 'top.qcow2'),
                      ('commit', '--dry-run', '--top', '@1', 'top.qcow2')):
            whole = self.run_cli(*words).stdout
            codes = []
            for done in self.interrupted(*words):
                codes.append(done.returncode)
                # One that came when all was seen, and images were being closed, is too late.
                self.assertTrue(done.returncode == INTERRUPTED or done.stdout == whole)
            with self.subTest(words=words):
                self.assertEqual(codes[:4], [INTERRUPTED] * 4)
                self.assertGreaterEqual(codes.count(INTERRUPTED), len(codes) - 1)
            self.assertEqual(self.bytes_of(*self.NAMES), before)

    def test_it_is_told_in_json_too(self):
        for words in (('info', 'top.qcow2'), ('map', 'top.qcow2'), ('check', 'top.qcow2'),
                      ('stream', '--dry-run', 'top.qcow2')):
            with self.subTest(words=words):
                done = interrupt_at_poll.run_interrupted(
                    [cli_test.PROGRAM, *words, *IO, '--json'], signal.SIGINT, 2, cwd=self.folder)
                self.assertEqual(done.returncode, INTERRUPTED)
                told = json.loads(done.stdout)
                self.assertEqual(told['status'], 'cancelled')
                self.assertEqual(f"millrace: {told['error']['text']}",
                                 done.stderr.splitlines()[-1])

    LARGE = ('--preallocation', 'metadata', '--cluster-size', '4096')

    def test_create_leaves_a_whole_image_or_no_file(self):
        path = self.folder / 'new.qcow2'
        codes = []
        for done in self.interrupted('create', *self.LARGE, 'new.qcow2', '256M',
                                     prepare=lambda: path.unlink(missing_ok=True)):
            codes.append(done.returncode)
            if done.returncode == INTERRUPTED:
                self.assertFalse(path.exists())
                self.assertIn('no file is left', done.stderr)
            else:
                self.run_cli('check', 'new.qcow2')
        # Also where most of it was written.
        self.assertEqual(codes[:8], [INTERRUPTED] * 8)

    def test_create_over_an_image_says_whether_that_is_still_there(self):
        path = self.folder / 'old.qcow2'
        self.run_cli('create', 'old.qcow2', '3M')
        old = path.read_bytes()
        said = set()
        for done in self.interrupted('create', '--force', *self.LARGE, 'old.qcow2', '16M',
                                     prepare=lambda: path.write_bytes(old)):
            if done.returncode == SUCCESS:
                self.run_cli('check', 'old.qcow2')
                continue
            is_kept = 'what was there is as it was' in done.stderr
            said.add(is_kept)
            self.assertEqual(path.read_bytes() == old, is_kept)
            if not is_kept:
                self.assertIn("'old.qcow2': cancelled; what the file held is gone, and it is no "
                              'image yet; make it again, or remove it\n', done.stderr)
                self.run_cli('check', 'old.qcow2', expect=FAILURE)
        self.assertEqual(said, {True, False})

    def test_create_over_a_backing_file_that_is_being_looked_at_makes_nothing(self):
        done = interrupt_at_poll.run_interrupted(
            [cli_test.PROGRAM, 'create', '--backing', 'base.qcow2', '--backing-format', 'qcow2',
             'new.qcow2'], signal.SIGINT, 1, cwd=self.folder)
        self.assertEqual(done.returncode, INTERRUPTED)
        self.assertTrue(done.stderr.endswith('millrace: interrupted: nothing was changed\n'))
        self.assertFalse((self.folder / 'new.qcow2').exists())

    def damage(self):
        """An image of many tables whose first data cluster nobody counts."""
        self.run_cli('create', '--cluster-size', '512', 'bad.qcow2', '4M')
        self.write('bad.qcow2', 'write -P 1 0 1M')
        content = bytearray((self.folder / 'bad.qcow2').read_bytes())
        number = lambda at: int.from_bytes(content[at:at + 8], 'big')
        data = number(number(number(40)) & 0xfffffffffffe00) & 0xfffffffffffe00
        block = number(number(48) + 8 * (data // 512 // 256))
        at = block + 2 * (data // 512 % 256)
        content[at:at + 2] = b'\0\0'
        return bytes(content)

    def test_a_repair_has_changed_nothing_or_is_done(self):
        damaged = self.damage()
        path = self.folder / 'bad.qcow2'
        path.write_bytes(damaged)
        self.run_cli('check', 'bad.qcow2', expect=CORRUPT)
        said = set()
        for done in self.interrupted('check', '--repair', 'all', 'bad.qcow2',
                                     prepare=lambda: path.write_bytes(damaged)):
            is_unchanged = path.read_bytes() == damaged
            if done.returncode == INTERRUPTED:
                told = re.search(r'it was not changed|after the repair', done.stderr)[0]
                said.add(told)
                self.assertEqual(told == 'it was not changed', is_unchanged)
            if not is_unchanged:
                self.run_cli('check', 'bad.qcow2')
        self.assertIn('it was not changed', said)

    def test_jobs_are_cancelled_and_the_images_show_what_they_showed(self):
        whole = self.bytes_of(*self.NAMES)
        shown = self.content('top.qcow2')

        def restore():
            for name, content in zip(self.NAMES, whole):
                (self.folder / name).write_bytes(content)

        for words in (('stream', 'top.qcow2'), ('commit', '--top', '@1', 'top.qcow2')):
            codes, offsets = [], []
            for done in self.interrupted(*words, '--json', prepare=restore):
                codes.append(done.returncode)
                told = json.loads(done.stdout)
                self.assertEqual(told['job'], words[0])
                if done.returncode == SUCCESS:
                    continue
                self.assertEqual(told['status'], 'cancelled')
                offsets.append(told['offset'])
                self.assertLessEqual(told['offset'], told['len'])
                self.assertIn([link['filename'] for link in told['chain']],
                              [[], list(reversed(self.NAMES))])
                for name in self.NAMES:
                    self.qemu('qemu-img', 'check', name)
                self.assertEqual(self.content('top.qcow2'), shown)
            self.assertEqual(codes[:4], [INTERRUPTED] * 4)
            # Some before they had begun, some in the midst of it.
            self.assertEqual(offsets[0], 0)
            self.assertGreater(offsets[-1], 0)

    def test_the_second_one_ends_the_program_at_once(self):
        sent = []

        def at_poll(pid):
            if not sent or HEARD in pathlib.Path(f'/proc/{pid}/fd/2').read_text():
                os.kill(pid, signal.SIGINT)
                sent.append(signal.SIGINT)
            return len(sent) == 2

        done = interrupt_at_poll.run_watched([cli_test.PROGRAM, 'stream', *IO, 'top.qcow2'], at_poll,
                                             cwd=self.folder)
        self.assertEqual((len(sent), done.returncode), (2, -signal.SIGINT), done.stderr)
        for name in self.NAMES:
            self.run_cli('check', name)

    def last_wait(self, *words):
        """How often it went to wait; with its threads, that may be another time the next time."""
        waits = []
        done = interrupt_at_poll.run_watched([cli_test.PROGRAM, *words, *IO], waits.append,
                                             cwd=self.folder)
        self.assertEqual(done.returncode, SUCCESS, done.stderr)
        return len(waits)

    def test_one_that_comes_when_all_is_done_interrupts_nothing(self):
        """While the images are being closed, the last of which is waited for."""
        path = self.folder / 'new.qcow2'
        for words in (('create', 'new.qcow2', '1M'), ('map', 'top.qcow2')):
            with self.subTest(words=words):
                for _ in range(20):
                    last = self.last_wait(*words)
                    path.unlink(missing_ok=True)
                    done = interrupt_at_poll.run_interrupted([cli_test.PROGRAM, *words, *IO],
                                                             signal.SIGINT, last, cwd=self.folder)
                    path.unlink(missing_ok=True)
                    if done.has_come and done.returncode == SUCCESS:
                        break
                self.assertTrue(done.has_come)
                self.assertEqual((done.returncode, 'interrupted' in done.stderr), (SUCCESS, False),
                                 done.stderr)
                self.assertNotEqual(done.stdout, '')

    def test_one_that_comes_when_it_is_told_leaves_what_was_done_done(self):
        for words in (('create', 'new.qcow2', '1M'), ('commit', '--top', '@1', 'top.qcow2'),
                      ('check', '--repair', 'all', 'top.qcow2'), ('stream', 'top.qcow2')):
            with self.subTest(words=words):
                done = interrupt_at_poll.run_interrupted_at_output(
                    [cli_test.PROGRAM, *words, *IO], signal.SIGTERM, cwd=self.folder)
                self.assertTrue(done.has_come)
                self.assertEqual((done.returncode, 'interrupted' in done.stderr), (SUCCESS, False),
                                 done.stderr)
                self.assertTrue(done.stdout.endswith('\n'), done.stdout)

    def test_one_that_comes_while_a_look_is_told_ends_it(self):
        done = interrupt_at_poll.run_interrupted_at_output(
            [cli_test.PROGRAM, 'map', 'top.qcow2', *IO], signal.SIGINT, cwd=self.folder)
        self.assertEqual((done.returncode, done.stderr), (INTERRUPTED, 'millrace: interrupted\n'))

    def test_a_quiet_job_says_that_it_heard_too(self):
        done = interrupt_at_poll.run_interrupted(
            [cli_test.PROGRAM, 'stream', '--quiet', *IO, 'top.qcow2'], signal.SIGINT, 15,
            cwd=self.folder)
        self.assertEqual(done.returncode, INTERRUPTED)
        self.assertTrue(done.stderr.startswith('millrace: asked to end: cancelling the job; '),
                        done.stderr)


if __name__ == '__main__':
    cli_test.PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=1)
