#!/usr/bin/env python3
"""Names and chains that somebody else has chosen: what `millrace` follows, and what it refuses.

    surfaces_test.py --tool MILLRACE

Images are made by qemu-img and then told, in their headers, to lie below what they should not.
"""

import argparse
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

TOOL = None
SECONDS_MAX = 120


class Surfaces(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def image(self, name, backing=None, backing_format='qcow2'):
        """An empty image; its header names `backing`, bytes as they are, and that need not exist."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-o', 'cluster_size=4096', path,
                        '1M'], check=True)
        if backing is not None:
            content = bytearray(path.read_bytes())
            end = struct.unpack_from('>I', content, 100)[0]
            extension = struct.pack('>II', 0xe2792aca, len(backing_format))
            extension += backing_format.encode().ljust(-(-len(backing_format) // 8) * 8, b'\0')
            content[end:2048] = (extension + bytes(8)).ljust(2048 - end, b'\0')
            struct.pack_into('>QI', content, 8, 2048, len(backing))
            content[2048:2048 + len(backing)] = backing
            path.write_bytes(content)
        return path

    def run_tool(self, *arguments):
        return subprocess.run([TOOL, *arguments], cwd=self.folder, capture_output=True,
                              timeout=SECONDS_MAX, check=False)

    def refused(self, path, *, says, verb='map'):
        before = path.read_bytes()
        result = self.run_tool(verb, path.name)
        text = result.stderr.decode(errors='replace')
        self.assertEqual(result.returncode, 1, text + result.stdout.decode(errors='replace')[:300])
        self.assertRegex(text, says)
        self.assertNotRegex(text, r'[\x00-\x08\x0b-\x1f\x7f]')
        self.assertEqual(path.read_bytes(), before)
        return text

    def test_control_characters_in_a_name_never_reach_the_terminal(self):
        for name in (b'a\x1b[2J\x1b]0;owned\x07b', b'line\nline\rline', b'\x7f\x01\x02', b'\xff\xfe'):
            path = self.image('top', name)
            self.refused(path, says='No such file or directory')
            shown = self.run_tool('info', 'top')
            self.assertNotRegex(shown.stdout + shown.stderr, rb'[\x00-\x08\x0b-\x1f\x7f]')

    def test_a_loop_is_found_by_identity_not_by_name(self):
        self.refused(self.image('self', b'self'), says='its backing chain is a loop: self -> self;')
        one = self.image('one', b'two')
        self.image('two', b'three')
        (self.folder / 'three').symlink_to('one')
        loop = 'its backing chain is a loop: one -> two -> three;'
        self.refused(one, says=loop)
        os.remove(self.folder / 'three')
        os.link(one, self.folder / 'three')
        self.refused(one, says=loop)

    def test_a_chain_that_is_too_deep_is_refused_before_it_costs_much(self):
        self.image('0')
        for number in range(1, 10000):
            content = bytearray(self.image('1', b'0').read_bytes()) if number == 1 else content
            name = str(number - 1).encode()
            struct.pack_into('>I', content, 16, len(name))
            content[2048:2048 + len(name)] = name
            (self.folder / str(number)).write_bytes(content)
        self.refused(self.folder / '9999', says=r'deep|\b256\b|\b200\b|limit')

    def test_strings_of_an_image_are_file_names_and_nothing_else(self):
        (self.folder / 'secret').write_bytes(b's' * 4096)
        for name in (b'json:{"driver":"file","filename":"secret"}', b'json:{"driver":"null-co"}',
                     b'nbd://localhost/x', b'nbd:unix:/tmp/x:exportname=y', b'file:secret',
                     b'fat:rw:.', b'http://localhost/', b'ssh://localhost/x', b'rbd:pool/x'):
            self.refused(self.image('top', name, 'raw'),
                         says='a name in an image must be a plain path, not a protocol or json:')

    def test_an_open_root_holds_back_names_that_lead_out_of_it(self):
        (self.folder / 'outside').write_bytes(b'o' * 4096)
        top = self.image('inside/top', b'within', 'raw')
        (self.folder / 'inside' / 'within').write_bytes(b'i' * 4096)
        (self.folder / 'inside' / 'link').symlink_to('../outside')
        held_back, leads_out = 'only files below', 'it lies outside of'
        for name, says in ((b'within', None), (b'../outside', held_back), (b'link', leads_out),
                           (str(self.folder / 'outside').encode(), held_back)):
            self.image('inside/top', name, 'raw')
            self.assertEqual(self.run_tool('map', str(top)).returncode, 0, name)
            result = self.run_tool('map', '--open-root', str(top.parent), str(top))
            self.assertEqual(result.returncode, 1 if says else 0, name)
            self.assertRegex(result.stderr.decode(), says or '^$')

    def test_asking_what_an_image_is_opens_no_other_file(self):
        # A pipe that nobody writes: whoever opens it waits for ever.
        os.mkfifo(self.folder / 'pipe')
        self.image('top', b'pipe', 'raw')
        self.assertEqual(self.run_tool('info', 'top').returncode, 0)
        self.assertIn(self.run_tool('check', 'top').returncode, (0, 1))
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-o', 'data_file=pipe.raw',
                        'data', '1M'], check=True, cwd=self.folder)
        (self.folder / 'pipe.raw').unlink(missing_ok=True)
        os.mkfifo(self.folder / 'pipe.raw')
        for verb in ('info', 'check', 'map'):
            result = self.run_tool(verb, 'data')
            self.assertNotRegex(result.stderr, rb'Sanitizer|runtime error|check failed')

    def test_a_guess_of_raw_is_good_for_reading_only(self):
        (self.folder / 'disk').write_bytes(b'r' * 65536)
        self.image('top', b'disk', 'raw')
        before = (self.folder / 'disk').read_bytes()
        result = self.run_tool('stream', 'disk')
        self.assertNotEqual(result.returncode, 0)
        self.assertEqual((self.folder / 'disk').read_bytes(), before)
        # What the guest wrote there meanwhile is not believed: the header says raw.
        shutil.copy(self.image('evil', b'/etc/hostname', 'raw'), self.folder / 'disk')
        result = self.run_tool('graph', 'top')
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertNotIn(b'hostname', result.stdout)


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--tool', required=True)
    options, rest = parser.parse_known_args()
    TOOL = os.path.abspath(options.tool)
    if shutil.which('qemu-img') is None:
        print('qemu-img is not installed')
        sys.exit(77)
    unittest.main(argv=[sys.argv[0], *rest])
