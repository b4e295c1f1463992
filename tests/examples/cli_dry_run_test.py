#!/usr/bin/env python3
"""What --dry-run of `millrace` says, against what the job then does.

    cli_dry_run_test.py PROGRAM [unittest arguments]
"""

import os
import signal
import subprocess
import sys
import unittest

import cli_test
from cli_test import FAILURE, INTERRUPTED, REFUSED, Cli, needs_qemu

# The words, and the images on which no other job can start meanwhile: of a stream those that are
# read and the one that is filled, of a commit all from its top to its base, and the uppermost.
SHAPES = (
    (('stream',), 'top mid low base'),
    (('stream', '--base', '@1'), 'top'),
    (('stream', '--base', 'low.qcow2'), 'top mid'),
    (('stream', '--base', 'base.qcow2'), 'top mid low'),
    (('stream', '--bottom', 'mid.qcow2'), 'top mid'),
    (('stream', '--bottom', 'base.qcow2'), 'top mid low base'),
    (('stream', '--top', '@1'), 'mid low base'),
    (('stream', '--top', 'mid.qcow2', '--base', '@3'), 'mid low'),
    (('stream', '--top', '@2', '--bottom', '@3'), 'low base'),
    (('commit', '--top', 'mid.qcow2'), 'top mid low base'),
    (('commit', '--top', 'mid.qcow2', '--base', 'low.qcow2'), 'top mid low'),
    (('commit', '--top', 'low.qcow2'), 'top low base'),
    (('commit', '--top', '@1', '--base', '@3'), 'top mid low base'),
)


@needs_qemu
class DryRun(Cli):
    NAMES = ('base.qcow2', 'low.qcow2', 'mid.qcow2', 'top.qcow2')

    def setUp(self):
        super().setUp()
        self.chain(*self.NAMES)
        self.whole = dict(zip(self.NAMES, self.bytes_of(*self.NAMES)))

    def restore(self):
        for name, content in self.whole.items():
            (self.folder / name).write_bytes(content)

    def headers(self):
        """The chain as the headers tell it."""
        return [image['filename'] for image in self.run_json('info', '--chain', 'top.qcow2')]

    def changed(self):
        return {name for name, content in self.whole.items()
                if (self.folder / name).read_bytes() != content}

    def test_the_chain_that_it_tells_is_the_chain_that_the_job_makes(self):
        for words, claims in SHAPES:
            with self.subTest(words=words):
                self.restore()
                plan = self.run_json(*words, '--dry-run', 'top.qcow2')
                self.assertEqual(self.changed(), set())
                self.assertIsNone(plan['refused'])
                self.assertEqual([link['filename'] for link in plan['before']], self.headers())
                self.assertEqual(plan['claims'], [f'{name}.qcow2' for name in claims.split()])
                self.assertEqual(plan['locks'], self.headers())
                done = self.run_json(*words, '--quiet', 'top.qcow2')
                self.assertEqual(done['status'], 'completed')
                self.assertEqual(plan['after'], done['chain'])
                self.assertEqual([link['filename'] for link in plan['after']], self.headers())
                # Of a chain with no more than the one below, a stream has nothing to do.
                if plan['copy-bytes'] > 0:
                    self.assertEqual(self.changed(), set(plan['writes']))
                else:
                    self.assertLessEqual(self.changed(), set(plan['writes']))
                self.assertEqual(plan['target'], plan['writes'][-1])

    def test_what_it_tells_in_words_is_the_same(self):
        for words, claims in (SHAPES[2], SHAPES[9]):
            plan = self.run_json(*words, '--dry-run', 'top.qcow2')
            told = self.run_cli(*words, '--dry-run', 'top.qcow2').stdout.splitlines()
            after = ' <- '.join(link['filename'] for link in plan['after'])
            self.assertIn(f'after:  {after}', told)
            self.assertIn(f"writes to: {', '.join(plan['writes'])}", told)
            names = ', '.join(f'{name}.qcow2' for name in claims.split())
            self.assertIn(f'while it runs, no other job could start on: {names}', told)
            self.assertIn('while it runs, other programs could not write to: '
                          f"{', '.join(plan['locks'])}", told)
            self.assertEqual(told[-1], 'nobody is in the way; nothing was changed')

    def test_other_programs_can_write_to_none_of_the_images_that_it_says_are_locked(self):
        for words, _ in (SHAPES[2], SHAPES[10]):
            with self.subTest(words=words):
                self.restore()
                plan = self.run_json(*words, '--dry-run', 'top.qcow2')
                job = subprocess.Popen([cli_test.PROGRAM, *words, '--speed', '1', 'top.qcow2'],
                                       cwd=self.folder, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.PIPE, text=True)
                self.assertIn(f'{words[0]}: ', job.stderr.readline())  # it is at work
                locked = []
                for name in reversed(self.NAMES):
                    tried = subprocess.run(
                        ['qemu-io', '--image-opts', '-c', 'write -z 0 512',
                         f'driver=qcow2,file.filename={name},backing.driver=null-co'],
                        cwd=self.folder, capture_output=True, text=True, timeout=60, check=False)
                    if 'lock' in tried.stderr + tried.stdout:
                        locked.append(name)
                job.send_signal(signal.SIGINT)
                job.communicate(timeout=60)
                self.assertEqual(job.returncode, INTERRUPTED)
                self.assertEqual(locked, plan['locks'])
                self.assertEqual(len(locked), 4)

    def test_a_job_that_could_not_start_has_no_chain_afterwards(self):
        self.qemu('qemu-img', 'rebase', '-u', '-b', 'low.qcow2', '-F', 'qcow2', 'mid.qcow2')
        other = subprocess.Popen(['qemu-io', '-r', 'low.qcow2'], cwd=self.folder,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(other.communicate, 'quit\n')
        other.stdin.write('read 0 512\n')
        other.stdin.flush()
        while 'read' not in other.stdout.readline():
            pass
        words = ('commit', '--top', 'mid.qcow2', '--base', 'low.qcow2')
        plan = self.run_json(*words, '--dry-run', 'top.qcow2', expect=REFUSED)
        done = self.run_json(*words, 'top.qcow2', expect=FAILURE)
        self.assertIn(f'process {other.pid} (qemu-io)', plan['refused'])
        self.assertIn(f'process {other.pid} (qemu-io)', done['error']['text'])
        self.assertEqual(self.changed(), set())


if __name__ == '__main__':
    cli_test.PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=1)
