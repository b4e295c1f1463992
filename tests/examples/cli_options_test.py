#!/usr/bin/env python3
"""Every option of `millrace` has its effect, or is refused by name with what to do.

    cli_options_test.py PROGRAM [unittest arguments]

What an option does inside, as O_DIRECT, is looked at from outside, while the program waits
(interrupt_at_poll.py).
"""

import contextlib
import os
import pathlib
import re
import subprocess
import sys
import unittest

import cli_test
import interrupt_at_poll
from cli_test import FAILURE, SUCCESS, USAGE, Cli, needs_qemu

CREATE = ('create', '--format', 'raw', 'x.img', '1M')


class Refusals(Cli):
    def refused(self, words, *said):
        for path in self.folder.iterdir():
            path.unlink()
        with self.subTest(words=words):
            error = self.run_cli(*words, expect=USAGE).stderr
            self.assertRegex(error, r'\Amillrace: [^\n]+\n\Z')
            for text in said:
                self.assertIn(text, error)
            self.assertEqual(list(self.folder.iterdir()), [])

    def test_a_value_that_is_none_of_the_choices(self):
        for words in (('create', '--io', 'bogus', 'x', '1M'),
                      ('create', '--compression', 'lzo', 'x', '1M'),
                      ('create', '--preallocation', 'full', 'x', '1M'),
                      ('create', '--compat', '1.0', 'x', '1M'),
                      ('create', '--refcount-bits', '3', 'x', '1M'),
                      ('check', '--repair', 'some', 'x'), ('check', '--repair', '', 'x'),
                      ('stream', '--on-error', 'stop', 'x'),
                      *((command, '--io', 'bogus', 'x')
                        for command in ('info', 'map', 'check', 'graph', 'stream', 'commit'))):
            self.refused(words, f"'{words[1]} {words[2]}' is unknown; use ",
                         f"see 'millrace {words[0]} --help'")

    def test_qcow2_options_of_a_raw_image(self):
        for option in (('--cluster-size', '64K'), ('--refcount-bits', '16'), ('--extended-l2',),
                       ('--lazy-refcounts',), ('--preallocation', 'off'), ('--compat', '1.1'),
                       ('--compression', 'zlib')):
            self.refused((*CREATE, *option), f"'{option[0]}' has no effect with --format raw",
                         'leave that out, or make the image qcow2')
        self.refused((*CREATE, '--extended-l2', '--compat=1.1'), "'--extended-l2', '--compat' have")
        self.run_cli(*CREATE)

    def test_options_about_backing_files_where_none_is_opened(self):
        for option in (('--open-root', '.'), ('--like-qemu',)):
            self.refused(('check', *option, 'x'), f"'{option[0]}' has no effect on check",
                         'it opens no backing file', 'leave it out')
            self.assertNotIn(option[0], self.run_cli('check', '--help').stdout)
            self.assertIn(option[0], self.run_cli('info', '--help').stdout)

    def test_options_about_images_where_a_daemon_is_asked(self):
        for option in (('--format', 'raw'), ('--force-share',), ('--like-qemu',),
                       ('--open-root', '.'), ('--direct',), ('--io', 'threads')):
            self.refused(('graph', '--socket', 's', *option),
                         f"'{option[0]}' has no effect with --socket", 'leave that out')

    def test_forms_that_exclude_each_other(self):
        for words in (('graph', '--dot', '--json', 'x'),
                      ('graph', '--socket', 's', '--dot', '--svg'),
                      ('graph', '--socket', 's', '--json', '--svg')):
            self.refused(words, 'exclude each other; give one of them')


@needs_qemu
class Effects(Cli):
    NAMES = ('base.qcow2', 'low.qcow2', 'mid.qcow2', 'top.qcow2')

    def setUp(self):
        super().setUp()
        self.chain(*self.NAMES)

    def backing(self, name):
        return self.run_json('info', name).get('backing-filename')

    # ---- The chain -------------------------------------------------------------------------------

    def test_bottom_is_the_lowest_image_that_is_copied_from(self):
        before = self.content('top.qcow2')
        lowest = self.content('low.qcow2')
        done = self.run_json('stream', '--bottom', 'low.qcow2', 'top.qcow2')
        self.assertEqual([link['filename'] for link in done['chain']], ['top.qcow2', 'base.qcow2'])
        self.assertEqual(self.backing('top.qcow2'), 'base.qcow2')
        self.assertEqual(self.content('top.qcow2'), before)
        self.assertEqual(self.content('low.qcow2'), lowest)
        # What is the base's alone stays there, what was the low image's own is here now.
        runs = self.run_json('map', 'top.qcow2')
        depth_of = lambda place: next(run['depth'] for run in runs
                                      if run['start'] <= place < run['start'] + run['length'])
        self.assertEqual((depth_of(512 << 10), depth_of(1536 << 10)), (1, 0), runs)

    def test_backing_file_is_what_the_header_says(self):
        for words, name, overlay in (
                (('stream', '--base', 'low.qcow2'), './low.qcow2', 'top.qcow2'),
                (('stream', '--bottom', 'low.qcow2'), './base.qcow2', 'top.qcow2'),
                (('commit', '--top', 'low.qcow2'), str(self.folder / 'base.qcow2'), 'mid.qcow2')):
            with self.subTest(words=words):
                for image in self.NAMES:
                    (self.folder / image).unlink()
                self.chain(*self.NAMES)
                shown = self.content('top.qcow2')
                self.run_cli(*words, '--backing-file', name, 'top.qcow2')
                self.assertEqual(self.backing(overlay), name)
                self.assertEqual(self.content('top.qcow2'), shown)

    def test_like_qemu_opens_what_the_gate_refuses(self):
        shown = self.content('top.qcow2')
        self.qemu('qemu-img', 'rebase', '-u', '-b', 'file:low.qcow2', '-F', 'qcow2', 'mid.qcow2')
        for words in (('stream', 'top.qcow2'), ('map', 'top.qcow2'),
                      ('info', '--chain', 'top.qcow2')):
            with self.subTest(words=words):
                self.assertIn('plain path', self.run_cli(*words, expect=FAILURE).stderr)
        self.run_cli('info', '--chain', '--like-qemu', 'top.qcow2')
        self.run_cli('map', '--like-qemu', 'top.qcow2')
        self.run_cli('stream', '--like-qemu', 'top.qcow2')
        self.assertIsNone(self.backing('top.qcow2'))
        self.assertEqual(self.content('top.qcow2'), shown)

    # ---- Errors ----------------------------------------------------------------------------------

    LAST = 80 << 20  # further from the first than any job reads ahead

    def unreadable_base(self):
        """An overlay of a base whose cluster at 1 MiB is compressed, and not what compression makes;
        behind it 64 MiB of data, and some at LAST."""
        self.run_cli('create', '--force', 'bad.qcow2', '96M')
        self.write('bad.qcow2', 'write -c -P 9 1M 64K', 'write -P 7 2M 64M',
                   f'write -P 8 {self.LAST} 64K')
        with open(self.folder / 'bad.qcow2', 'r+b') as file:
            def number(at):
                file.seek(at)
                return int.from_bytes(file.read(8), 'big')
            entry = number((number(number(40)) & 0xfffffffffffe00) + 8 * 16)
            self.assertTrue(entry & 1 << 62)
            file.seek(entry & (1 << 54) - 1)
            file.write(b'\xff' * 64)
        self.run_cli('create', '--force', '--backing', 'bad.qcow2', '--backing-format', 'qcow2',
                     'over.qcow2')

    def own_data(self):
        return [run['start'] for run in self.run_json('map', 'over.qcow2')
                if run['data'] and run['depth'] == 0]

    def test_on_error_ignore_goes_on_and_report_ends(self):
        for words, goes_on in (((), False), (('--on-error', 'report'), False),
                               (('--on-error', 'ignore'), True)):
            with self.subTest(words=words):
                self.unreadable_base()
                error = self.run_cli('stream', '--quiet', *words, 'over.qcow2',
                                     expect=FAILURE).stderr
                self.assertIn("image 'bad.qcow2'", error)
                self.assertIn('compressed cluster', error)
                self.assertEqual(self.LAST in self.own_data(), goes_on)
                self.assertEqual(self.backing('over.qcow2'), 'bad.qcow2')

    # ---- What the host sees ----------------------------------------------------------------------

    def watched(self, words, look):
        """Whether look(pid) was true at some point at which the command waited."""
        done = interrupt_at_poll.run_watched([cli_test.PROGRAM, *words], look, cwd=self.folder)
        self.assertEqual(done.returncode, SUCCESS, done.stderr)
        return done.has_come

    def descriptors(self, pid):
        """What the program has open now; its other threads go on opening and closing."""
        for fd in os.listdir(f'/proc/{pid}/fd'):
            try:
                yield fd, os.readlink(f'/proc/{pid}/fd/{fd}')
            except FileNotFoundError:
                pass

    def flags_of(self, pid, name):
        """All those with which the program has the file open."""
        flags = 0
        for fd, target in self.descriptors(pid):
            if target == str(self.folder / name):
                with contextlib.suppress(FileNotFoundError):
                    info = pathlib.Path(f'/proc/{pid}/fdinfo/{fd}').read_text(encoding='ascii')
                    flags |= int(re.search(r'^flags:\s+(\d+)$', info, re.M)[1], 8)
        return flags

    def needs_tracing(self):
        if not interrupt_at_poll.can_interrupt():
            self.skipTest('this host lets no program trace another')

    def test_direct_opens_with_o_direct(self):
        self.needs_tracing()
        try:
            os.close(os.open(self.folder / 'top.qcow2', os.O_RDONLY | os.O_DIRECT))
        except OSError:
            self.skipTest('this file system has no direct I/O')
        for words in (('info', 'top.qcow2'), ('info', '--chain', 'top.qcow2'),
                      ('map', 'top.qcow2'), ('graph', 'top.qcow2'), ('check', 'top.qcow2'),
                      ('check', '--repair', 'all', 'top.qcow2'),
                      ('stream', '--dry-run', 'top.qcow2'), ('commit', '--top', '@1', 'top.qcow2'),
                      ('stream', 'top.qcow2')):
            with self.subTest(words=words):
                is_direct = lambda pid: self.flags_of(pid, 'top.qcow2') & os.O_DIRECT
                if words[0] not in ('stream', 'commit') or '--dry-run' in words:
                    self.assertFalse(self.watched(words, is_direct))
                shown = self.content('top.qcow2')
                self.assertTrue(self.watched((*words, '--direct'), is_direct))
                self.assertEqual(self.content('top.qcow2'), shown)
        self.qemu('qemu-img', 'check', 'top.qcow2')

    def test_io_chooses_how_the_host_is_asked(self):
        self.needs_tracing()

        def has_ring(pid):
            return any('io_uring' in target for _, target in self.descriptors(pid))

        for command in (('info', 'top.qcow2'), ('stream', '--dry-run', 'top.qcow2'),
                        ('create', '--force', 'new.qcow2', '1M')):
            with self.subTest(command=command):
                self.assertFalse(self.watched((*command, '--io', 'threads'), has_ring))
                tried = subprocess.run([cli_test.PROGRAM, *command, '--io', 'io_uring'],
                                       cwd=self.folder, capture_output=True, text=True,
                                       timeout=300, check=False)
                if tried.returncode != SUCCESS:
                    self.assertIn('io_uring', tried.stderr)  # this host has none
                    continue
                self.assertTrue(self.watched((*command, '--io', 'io_uring'), has_ring))
        shown = self.content('top.qcow2')
        self.assertFalse(self.watched(('stream', '--io', 'threads', 'top.qcow2'), has_ring))
        self.assertEqual(self.content('top.qcow2'), shown)


if __name__ == '__main__':
    cli_test.PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=1)
