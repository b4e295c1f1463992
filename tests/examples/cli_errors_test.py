#!/usr/bin/env python3
"""The errors that a newcomer to `millrace` meets: each names the file and says what to do next.

    cli_errors_test.py PROGRAM [unittest arguments]
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import unittest

import cli_test
from cli_test import FAILURE, LEAKS, SUCCESS, Cli, needs_qemu

LOOKS = (('info',), ('map',), ('check',), ('graph',))
WRITES = (('stream',), ('check', '--repair', 'all'))
NOBODY = 65534  # a user who owns nothing


def needs(program):
    return unittest.skipUnless(shutil.which(program), f'{program} is not installed')


class Errors(Cli):
    def expect(self, said, *words):
        """`said` is one line of ours that holds each of the words."""
        self.assertRegex(said, r'\Amillrace: [^\n]+\n\Z')
        for word in words:
            self.assertIn(word, said)

    def refused(self, commands, name, *words, more=()):
        for command in commands:
            with self.subTest(command=command, name=name):
                self.expect(self.run_cli(*command, *more, name, expect=FAILURE).stderr, *words)


class Names(Errors):
    def test_a_missing_file(self):
        for name in ('missing.qcow2', 'no/such/folder.qcow2'):
            self.refused(LOOKS + WRITES, name,
                         f"open '{name}': No such file or directory; check the name, and what it is "
                         'relative to\n')
        self.expect(self.run_cli('create', 'no/folder.qcow2', '1M', expect=FAILURE).stderr,
                    "open 'no/folder.qcow2'", 'check the name')

    def test_a_file_for_a_folder(self):
        (self.folder / 'file').write_text('x')
        self.refused(LOOKS + WRITES, 'file/a.qcow2', "open 'file/a.qcow2': Not a directory; check "
                     'the name, and what it is relative to\n')

    def test_a_folder_and_what_else_is_no_image(self):
        (self.folder / 'folder').mkdir()
        os.mkfifo(self.folder / 'pipe')
        next_step = 'name a regular file or a block device\n'
        self.refused(LOOKS, 'folder', "open 'folder': it is neither a regular file nor a block "
                     'device; name one of these\n')
        self.refused(WRITES, 'folder', f"open 'folder': Is a directory; {next_step}")
        self.expect(self.run_cli('create', '--force', 'folder', '1M', expect=FAILURE).stderr,
                    f"open 'folder': Is a directory; {next_step}")
        self.refused(LOOKS + WRITES, 'pipe', "open 'pipe': it is neither a regular file nor a block "
                     'device; name one of these\n')

    def test_a_link_that_leads_nowhere(self):
        (self.folder / 'loop').symlink_to('loop')
        self.refused(LOOKS + WRITES, 'loop', "open 'loop': Too many levels of symbolic links; check "
                     'the symbolic links that lead to it\n')

    def test_a_backing_file_that_is_missing_is_told_with_the_image_that_names_it(self):
        self.run_cli('create', 'base.qcow2', '1M')
        self.run_cli('create', '--backing', 'base.qcow2', '--backing-format', 'qcow2', 'top.qcow2')
        (self.folder / 'base.qcow2').unlink()
        self.refused((('map',), ('graph',), ('stream',), ('stream', '--dry-run'),
                      ('commit', '--top', '@1')), 'top.qcow2',
                     "backing file of 'top.qcow2': open 'base.qcow2': No such file or directory; "
                     'check the name, and what it is relative to\n')
        # What looks at this image alone still does, and says which file that was.
        self.assertIn('base.qcow2', self.run_cli('info', 'top.qcow2').stdout)
        self.run_cli('check', 'top.qcow2')
        self.expect(self.run_cli('create', '--backing', 'base.qcow2', '--backing-format', 'qcow2',
                                 'new.qcow2', expect=FAILURE).stderr, "open 'base.qcow2'",
                    'check the name')
        self.assertFalse((self.folder / 'new.qcow2').exists())


class Formats(Errors):
    def test_a_file_of_another_format_whatever_its_length(self):
        for length in (4, 71, 72, 4096):
            (self.folder / 'text').write_bytes(b'x' * length)
            self.refused(LOOKS + WRITES, 'text', "image 'text': this is not a qcow2 image: it does "
                         "not start with 'QFI'; name the format that the image has\n",
                         more=('--format', 'qcow2'))

    def test_a_backing_file_of_another_format_than_the_header_says(self):
        self.run_cli('create', 'base', '1M')
        self.run_cli('create', '--backing', 'base', '--backing-format', 'qcow2', 'top')
        (self.folder / 'base').write_bytes(b'x' * 4096)
        self.refused((('map',), ('graph',), ('stream',)), 'top', "backing file of 'top': image "
                     "'base': this is not a qcow2 image", 'name the format that the image has')

    def test_a_format_that_is_unknown(self):
        self.run_cli('create', 'a', '1M')
        for command in LOOKS + WRITES:
            with self.subTest(command=command):
                said = self.run_cli(*command, '--format', 'vmdk', 'a', expect=FAILURE).stderr
                self.expect(said, "'a' as 'vmdk': ", '; s', 'qcow2')

    def test_a_raw_image_is_not_checked(self):
        (self.folder / 'raw').write_bytes(b'x' * 4096)
        for more in ((), ('--format', 'raw')):
            self.refused((('check',),), 'raw', "check 'raw' as 'raw': a raw image has no structure "
                         'that could be checked; say qcow2 if it is one\n', more=more)

    def test_a_guess_is_not_written_to(self):
        (self.folder / 'raw').write_bytes(b'x' * 4096)
        self.refused((('stream',),), 'raw', "open 'raw' for writing: its format was not given",
                     'state the format if it is raw\n')
        self.run_cli('stream', '--format', 'raw', 'raw')


@unittest.skipUnless(os.geteuid() == 0 and shutil.which('setpriv'),
                     'only root can become somebody who may not')
class Permissions(Errors):
    ADVICE = 'Permission denied; check who may use the file and the folders that lead to it\n'

    def as_nobody(self, *words):
        program = self.folder / 'millrace'  # where nobody may come
        if not program.exists():
            shutil.copy(cli_test.PROGRAM, program)
            self.folder.chmod(0o755)
        done = subprocess.run(['setpriv', f'--reuid={NOBODY}', f'--regid={NOBODY}',
                               '--clear-groups', program, *words], cwd=self.folder, text=True,
                              capture_output=True, timeout=300, check=False)
        return done.returncode, done.stderr

    def test_a_file_that_may_not_be_read(self):
        self.run_cli('create', 'a', '1M')
        (self.folder / 'a').chmod(0)
        for command in LOOKS + WRITES:
            with self.subTest(command=command):
                status, said = self.as_nobody(*command, 'a')
                self.assertEqual(status, FAILURE, said)
                self.expect(said, f"open 'a': {self.ADVICE}")

    def test_a_file_that_may_only_be_read_is_looked_at_and_not_written(self):
        self.run_cli('create', 'a', '1M')
        (self.folder / 'a').chmod(0o444)
        for command in LOOKS:
            with self.subTest(command=command):
                self.assertEqual(self.as_nobody(*command, 'a'), (SUCCESS, ''))
        for command in WRITES:
            with self.subTest(command=command):
                status, said = self.as_nobody(*command, 'a')
                self.assertEqual(status, FAILURE, said)
                self.expect(said, f"open 'a': {self.ADVICE}")
        status, said = self.as_nobody('create', 'new', '1M')
        self.assertEqual(status, FAILURE, said)
        self.expect(said, f"open 'new': {self.ADVICE}")


@needs_qemu
@needs('qemu-storage-daemon')
class InUse(Errors):
    """An image that another program has open, as a backing file too."""

    def setUp(self):
        super().setUp()
        self.run_cli('create', 'base', '1M')
        self.run_cli('create', '--backing', 'base', '--backing-format', 'qcow2', 'top')
        # The parent ends when all is set up.
        subprocess.run(
            ['qemu-storage-daemon', '--blockdev', 'file,node-name=f,filename=base', '--blockdev',
             'qcow2,node-name=q,file=f', '--nbd-server', 'addr.type=unix,addr.path=socket',
             '--export', 'nbd,id=e,node-name=q,writable=on', '--pidfile', 'pid', '--daemonize'],
            cwd=self.folder, timeout=60, check=True)
        pid = int((self.folder / 'pid').read_text())
        self.holder = f'process {pid} (qemu-storage-da) '
        self.addCleanup(self.end, os.pidfd_open(pid))

    def end(self, process):
        signal.pidfd_send_signal(process, signal.SIGTERM)
        select.select([process], [], [], 60)
        os.close(process)

    def test_names_the_program_and_says_to_close_it(self):
        self.refused(LOOKS, 'base', "lock image 'base'", self.holder, '; close it there first, or '
                     'look at what may be half of a change with --force-share\n')
        self.refused(WRITES, 'base', "lock image 'base'", self.holder, '; close it there first\n')
        self.expect(self.run_cli('create', '--force', 'base', '1M', expect=FAILURE).stderr,
                    self.holder, '; close it there first\n')
        for command in LOOKS:
            self.run_cli(*command, '--force-share', 'base')

    def test_says_so_of_a_backing_file(self):
        self.refused((('stream',),), 'top', "backing file of 'top': lock image 'base'", self.holder,
                     '; close it there first\n')
        self.refused((('map',), ('graph',)), 'top', "backing file of 'top': lock image 'base'",
                     self.holder, 'with --force-share\n')


@unittest.skipUnless(os.geteuid() == 0 and shutil.which('mount'), 'only root can mount a small disk')
class FullDisk(Errors):
    ADVICE = 'No space left on device; make room on its file system, then run this again'

    def setUp(self):
        super().setUp()
        self.small = self.folder / 'small'
        self.small.mkdir()
        mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', self.small],
                                 capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            self.skipTest(f'cannot mount: {mounted.stderr}')
        self.addCleanup(subprocess.run, ['umount', '--lazy', self.small], check=True)

    def test_a_new_image(self):
        (self.small / 'fill').write_bytes(b'x' * (2 << 20))
        said = self.run_cli('create', 'small/new.qcow2', '64M', expect=FAILURE).stderr
        self.expect(said, "write 'small/new.qcow2' at ", self.ADVICE)
        self.assertFalse((self.small / 'new.qcow2').exists())

    def test_a_stream_that_runs_out_of_room_and_goes_on_when_there_is_some(self):
        content = os.urandom(8 << 20)
        (self.folder / 'base.raw').write_bytes(content)
        self.run_cli('create', '--backing', '../base.raw', '--backing-format', 'raw', 'small/top')
        done = self.run_cli('stream', '--quiet', 'small/top', expect=FAILURE)
        # A warning may stand before it: some of the metadata had no room either.
        last = done.stderr.splitlines()[-1]
        self.assertRegex(last, rf"\Amillrace: write 'small/top' at \d+: {self.ADVICE}\Z")
        answer = self.run_json('stream', '--quiet', 'small/top', expect=FAILURE)
        self.assertIn(self.ADVICE, answer['error']['text'])
        # At most space is lost, nothing of what the image shows; with room, the same again works.
        done = subprocess.run([cli_test.PROGRAM, 'check', 'small/top'], cwd=self.folder,
                              capture_output=True, text=True, timeout=300, check=False)
        self.assertIn(done.returncode, (SUCCESS, LEAKS), done.stdout + done.stderr)
        subprocess.run(['mount', '-o', 'remount,size=32m', self.small], check=True)
        self.assertEqual(self.run_json('info', 'small/top')['backing-filename'], '../base.raw')
        self.run_cli('stream', '--quiet', 'small/top')
        if cli_test.HAS_QEMU:
            self.assertEqual(self.content('small/top'), content)


class AsJson(Errors):
    def test_an_error_has_its_text_and_its_advice_apart(self):
        done = self.run_cli('info', '--json', 'missing', expect=FAILURE)
        error = json.loads(done.stdout)['error']
        self.assertEqual(f"millrace: {error['text']}\n", done.stderr)
        self.assertEqual(error['next-step'], 'check the name, and what it is relative to')
        self.assertTrue(error['text'].endswith(f"; {error['next-step']}"), error)

    @cli_test.needs_qemu
    def test_a_map_that_breaks_off_is_an_error_and_no_piece_of_a_list(self):
        self.run_cli('create', 'x.qcow2', '1G')
        self.write('x.qcow2', 'write 64k 64k', 'write 600M 64k')
        with open(self.folder / 'x.qcow2', 'r+b') as image:
            image.seek(40)
            table = int.from_bytes(image.read(8), 'big')
            image.seek(table + 8)  # where the second half's table is: between two clusters
            image.write((0x8000000000000200).to_bytes(8, 'big'))
        done = self.run_cli('map', '--json', 'x.qcow2', expect=FAILURE)
        error = json.loads(done.stdout)['error']['text']
        self.assertTrue(done.stderr.endswith(f'millrace: {error}\n'), done.stderr)


if __name__ == '__main__':
    cli_test.PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=1)
