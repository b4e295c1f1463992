#!/usr/bin/env python3
"""`millrace` on real images, as a user runs it, beside qemu-img where that is installed.

    cli_test.py PROGRAM [unittest arguments]
"""

import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

PROGRAM = ''
EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / 'examples'
HAS_QEMU = shutil.which('qemu-img') is not None and shutil.which('qemu-io') is not None
needs_qemu = unittest.skipUnless(HAS_QEMU, 'qemu-img and qemu-io are not installed')

SUCCESS, FAILURE, USAGE, LEAKS, CORRUPT, REFUSED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
MIB = 1 << 20


class Cli(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='millrace-cli-'))
        self.addCleanup(shutil.rmtree, self.folder)

    # ---- Running programs ------------------------------------------------------------------------

    def run_cli(self, *words, expect=SUCCESS):
        done = subprocess.run([PROGRAM, *words], cwd=self.folder, capture_output=True, text=True,
                              timeout=300)
        self.assertEqual(done.returncode, expect,
                         f'{words}\nstdout: {done.stdout}\nstderr: {done.stderr}')
        return done

    def run_json(self, *words, expect=SUCCESS):
        return json.loads(self.run_cli(*words, '--json', expect=expect).stdout)

    def qemu(self, *words, expect=(0,)):
        done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, timeout=300)
        self.assertIn(done.returncode, expect, f'{words}\n{done.stdout}\n{done.stderr}')
        return done.stdout

    def write(self, name, *commands, image_format='qcow2'):
        arguments = [word for command in commands for word in ('-c', command)]
        self.qemu('qemu-io', '-f', image_format, *arguments, name)

    def content(self, name, image_format='qcow2'):
        self.qemu('qemu-img', 'convert', '-f', image_format, '-O', 'raw', name, 'content.raw')
        return (self.folder / 'content.raw').read_bytes()

    def bytes_of(self, *names):
        return [(self.folder / name).read_bytes() for name in names]

    def chain(self, *names):
        """Overlays from the root up, each with data of its own."""
        below = None
        for i, name in enumerate(names):
            if below is None:
                self.run_cli('create', name, '8M')
            else:
                self.run_cli('create', '--backing', below, '--backing-format', 'qcow2', name)
            self.write(name, f'write -P {i + 1} {i}M 2M', f'write -P {i + 101} {i * 64 + 7}K 10K')
            below = name


class Usage(Cli):
    def test_help_is_there_for_every_command(self):
        overview = self.run_cli('--help').stdout
        for command in ('create', 'info', 'map', 'check', 'graph', 'stream', 'commit'):
            self.assertIn(command, overview)
            text = self.run_cli(command, '--help').stdout
            self.assertIn(f'usage: millrace {command}', text)
            self.assertLessEqual(max(map(len, text.splitlines())), 100)

    def test_help_the_readme_and_the_code_name_the_same_exit_codes(self):
        code = (EXAMPLES / 'cli' / 'exit_code.h').read_text()
        said = {int(number) for number in re.findall(r'^  kExit\w+ = (\d+),', code, re.M)}
        self.assertEqual(said, {SUCCESS, FAILURE, USAGE, LEAKS, CORRUPT, REFUSED, INTERRUPTED})
        overview = self.run_cli('--help').stdout
        shown = re.findall(r'^  (\d+) +\S', overview[overview.index('Exit codes:'):], re.M)
        self.assertEqual(sorted(map(int, shown)), sorted(said))
        readme = (EXAMPLES / 'README.md').read_text()
        table = readme[readme.index('| exit code |'):].split('\n\n')[0]
        listed = [int(number) for row in re.findall(r'^\| ([\d, ]+) \|', table, re.M)
                  for number in row.split(',')]
        self.assertEqual(sorted(listed), sorted(said))
        # What each means, by the word on which nobody can be in doubt.
        for number, word in ((0, 'done'), (1, 'failed'), (2, 'not understood'), (3, 'leak'),
                             (4, 'corrupt'), (5, 'refused'), (130, 'Ctrl-C')):
            self.assertRegex(overview, rf'(?m)^  {number} +.*{word}')
            self.assertRegex(table, rf'(?m)^\| ([\d, ]+, )?{number}(, [\d, ]+)? \|.*{word}')
        done = re.search(r'Exit codes: (.*?)\n\n', self.run_cli('check', '--help').stdout, re.S)[1]
        self.assertEqual(re.findall(r'(\d+) ([a-z]+)', done.replace('\n', ' ')),
                         [('0', 'clean'), ('3', 'leaks'), ('4', 'corruption'), ('1', 'could')])

    def test_what_is_not_understood_touches_nothing_and_says_where_help_is(self):
        for words in ((), ('nonsense',), ('create',), ('create', 'x.qcow2'), ('info',),
                      ('info', '--nonsense', 'x'), ('map', 'a', 'b'), ('check', '--repair', 'x', 'y'),
                      ('create', 'x.qcow2', '10Q'), ('commit', 'x.qcow2'),
                      ('create', '--backing', 'b', 'x.qcow2'), ('info', '--io', 'bogus', 'x'),
                      ('stream', '--on-error', 'bogus', 'x'),
                      ('commit', '--on-error=bogus', '--base', 'a', 'x'),
                      ('stream', '--base', 'a', '--bottom', 'b', 'x')):
            with self.subTest(words=words):
                done = self.run_cli(*words, expect=USAGE)
                self.assertEqual(len(list(self.folder.iterdir())), 0)
                self.assertTrue(done.stderr)

    def test_a_missing_image_is_a_failure_that_names_it(self):
        for command in ('info', 'map', 'check', 'graph', 'stream'):
            done = self.run_cli(command, 'missing.qcow2', expect=FAILURE)
            self.assertIn('missing.qcow2', done.stderr)

    def test_errors_are_json_too_where_asked(self):
        answer = self.run_json('info', 'missing.qcow2', expect=FAILURE)
        self.assertIn('missing.qcow2', answer['error']['text'])


class Create(Cli):
    def test_an_existing_image_is_kept_unless_forced(self):
        self.run_cli('create', 'a.qcow2', '1M')
        before = self.bytes_of('a.qcow2')
        done = self.run_cli('create', 'a.qcow2', '2M', expect=FAILURE)
        self.assertIn('--force', done.stderr)
        self.assertEqual(self.bytes_of('a.qcow2'), before)
        self.run_cli('create', '--force', 'a.qcow2', '2M')
        self.assertEqual(self.run_json('info', 'a.qcow2')['virtual-size'], 2 * MIB)

    def test_what_was_made_is_told_in_json_too(self):
        made = self.run_json('create', 'a.qcow2', '1M')
        self.assertEqual((made['filename'], made['virtual-size']), ('a.qcow2', MIB))

    def test_a_failed_create_leaves_no_file(self):
        self.run_cli('create', '--cluster-size', '1000', 'a.qcow2', '1M', expect=FAILURE)
        self.run_cli('create', '--backing', 'none', '--backing-format', 'raw', 'a.qcow2',
                     expect=FAILURE)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_a_failed_create_removes_no_link_and_survives_any_name(self):
        (self.folder / 'link').symlink_to('nowhere/at/all')
        self.run_cli('create', '--format', 'foo', 'link', '1M', expect=FAILURE)
        self.run_cli('create', '--cluster-size', '1000', 'link', '1M', expect=FAILURE)
        self.assertTrue((self.folder / 'link').is_symlink())
        (self.folder / 'loop').symlink_to('loop')
        for name in ('loop', 'a' * 300):
            self.assertIn(f"'{name[:20]}", self.run_cli('create', name, '1M', expect=FAILURE).stderr)

    def test_an_overlay_takes_the_size_of_its_backing_file(self):
        self.run_cli('create', '--format', 'raw', 'base.img', '3M')
        self.run_cli('create', '--backing', 'base.img', '--backing-format', 'raw', 'top.qcow2')
        info = self.run_json('info', 'top.qcow2')
        self.assertEqual((info['virtual-size'], info['backing-filename']), (3 * MIB, 'base.img'))

    @needs_qemu
    def test_qemu_finds_every_option_as_asked(self):
        for options, expected in (
                ((), {'compat': '1.1', 'refcount-bits': 16}),
                (('--compat', '0.10'), {'compat': '0.10'}),
                (('--refcount-bits', '1'), {'refcount-bits': 1}),
                (('--compression', 'zstd'), {'compression-type': 'zstd'}),
                (('--extended-l2', '--cluster-size', '128K'), {'extended-l2': True}),
                (('--lazy-refcounts',), {'lazy-refcounts': True}),
                (('--preallocation', 'metadata'), {'corrupt': False}),
                (('--cluster-size', '2M'), {}), (('--cluster-size', '512'), {})):
            with self.subTest(options=options):
                self.run_cli('create', '--force', *options, 'a.qcow2', '5M')
                self.qemu('qemu-img', 'check', 'a.qcow2')
                info = json.loads(self.qemu('qemu-img', 'info', '--output=json', 'a.qcow2'))
                self.assertEqual(info['virtual-size'], 5 * MIB)
                data = info['format-specific']['data']
                self.assertEqual({key: data[key] for key in expected}, expected)


@needs_qemu
class Info(Cli):
    KEYS = ('filename', 'format', 'virtual-size', 'cluster-size', 'backing-filename',
            'backing-filename-format', 'full-backing-filename', 'dirty-flag')

    def test_agrees_with_qemu_img(self):
        self.qemu('qemu-img', 'create', '-f', 'raw', 'base.img', '4M')
        for options in ('compat=0.10', 'compat=1.1,lazy_refcounts=on', 'refcount_bits=64',
                        'cluster_size=4096', 'compression_type=zstd', 'extended_l2=on'):
            with self.subTest(options=options):
                self.qemu('qemu-img', 'create', '-f', 'qcow2', '-o', options, '-b', 'base.img',
                          '-F', 'raw', 'a.qcow2')
                self.qemu('qemu-img', 'snapshot', '-c', 'first', 'a.qcow2')
                theirs = json.loads(self.qemu('qemu-img', 'info', '--output=json', 'a.qcow2'))
                ours = self.run_json('info', 'a.qcow2')
                for key in self.KEYS:
                    self.assertEqual(ours.get(key), theirs.get(key), key)
                for key, value in theirs['format-specific']['data'].items():
                    self.assertEqual(ours['format-specific']['data'].get(key), value, key)
                self.assertEqual(ours['snapshots'][0]['name'], 'first')
                self.assertIn("'first'", self.run_cli('info', 'a.qcow2').stdout)

    def test_opens_no_file_that_the_header_names(self):
        self.qemu('qemu-img', 'create', '-u', '-f', 'qcow2', '-b', 'json:{"driver":"null-co"}',
                  '-F', 'raw', 'a.qcow2', '1M')
        info = self.run_json('info', 'a.qcow2')
        self.assertTrue(info['backing-filename'].startswith('json:'))
        self.assertNotIn('full-backing-filename', info)
        self.run_cli('info', '--chain', 'a.qcow2', expect=FAILURE)

    def test_describes_the_whole_chain(self):
        self.chain('base', 'mid', 'top')
        names = [image['filename'] for image in self.run_json('info', '--chain', 'top')]
        self.assertEqual(names, ['top', 'mid', 'base'])

    def test_never_writes(self):
        self.chain('base', 'top')
        before = self.bytes_of('base', 'top')
        for name in ('base', 'top'):
            (self.folder / name).chmod(0o444)
        for command in (('info', '--chain'), ('map',), ('check',), ('graph',),
                        ('stream', '--dry-run')):
            self.run_cli(*command, 'top', expect=SUCCESS if os.geteuid() == 0 or
                         command[0] != 'stream' else REFUSED)
        self.assertEqual(self.bytes_of('base', 'top'), before)


@needs_qemu
class NeverWrites(Cli):
    """What only looks leaves files alone that a writable open, or a repair, would change."""

    DATA = 0x50000  # where the first cluster written to a new image lies

    def number(self, name, offset, size=8):
        with open(self.folder / name, 'rb') as file:
            file.seek(offset)
            return int.from_bytes(file.read(size), 'big')

    def put(self, name, offset, value, size=8):
        with open(self.folder / name, 'r+b') as file:
            file.seek(offset)
            file.write(value.to_bytes(size, 'big'))

    def set_refcount(self, name, offset, value):
        block = self.number(name, self.number(name, 48))
        self.put(name, block + 2 * (offset // 65536), value, size=2)

    def bitmaps_extension(self, name):
        """Where its body begins."""
        at = self.number(name, 100, size=4)
        while self.number(name, at, size=4) != 0x23852875:
            self.assertNotEqual(self.number(name, at, size=4), 0, 'the header has no bitmaps')
            at += 8 + (self.number(name, at + 4, size=4) + 7) // 8 * 8
        return at + 8

    # Each turns a good image with data and a bitmap into one that asks to be put right.

    def mark_dirty(self, name):
        self.put(name, 72, 1)

    def mark_dirty_with_wrong_refcounts(self, name):
        self.set_refcount(name, self.DATA, 0)
        self.put(name, 72, 1)

    def mark_corrupt(self, name):
        self.put(name, 72, 2)

    def give_a_wrong_refcount(self, name):
        self.set_refcount(name, self.DATA, 0)

    def leak(self, name):
        end = -(-os.path.getsize(self.folder / name) // 65536) * 65536
        os.truncate(self.folder / name, end + 65536)
        self.set_refcount(name, end, 1)

    def leave_the_bitmap_in_use(self, name):
        directory = self.number(name, self.bitmaps_extension(name) + 16)
        self.put(name, directory + 12, 1, size=4)

    def leave_the_bitmaps_behind(self, name):
        self.put(name, 88, 0)  # changed by a program that knows of none: they are not valid

    # The damage, what `check` then says, and whether a job would be refused.
    DAMAGES = (('mark_dirty', SUCCESS, SUCCESS),
               ('mark_dirty_with_wrong_refcounts', CORRUPT, SUCCESS),
               ('mark_corrupt', SUCCESS, REFUSED),
               ('give_a_wrong_refcount', CORRUPT, SUCCESS),
               ('leak', LEAKS, SUCCESS),
               ('leave_the_bitmap_in_use', SUCCESS, SUCCESS),
               ('leave_the_bitmaps_behind', LEAKS, SUCCESS))
    DAMAGES = DAMAGES[::int(os.environ.get('CASE_STRIDE', 1))]
    NAMES = ('base', 'damaged', 'top')

    def damaged_chain(self, damage):
        for name in self.NAMES:
            (self.folder / name).unlink(missing_ok=True)
        self.run_cli('create', 'base', '8M')
        self.write('base', 'write -P 1 0 1M')
        self.run_cli('create', '--backing', 'base', '--backing-format', 'qcow2', 'damaged')
        self.write('damaged', 'write -P 2 64K 64K')
        self.qemu('qemu-img', 'bitmap', '--add', 'damaged', 'b')
        self.run_cli('create', '--backing', 'damaged', '--backing-format', 'qcow2', 'top')
        getattr(self, damage)('damaged')
        for name in self.NAMES:
            os.utime(self.folder / name, (10**9, 10**9))

    def state(self):
        """What all bytes come to, and what the host tells of the files."""
        found = []
        for name in self.NAMES:
            stat = os.stat(self.folder / name)
            found.append((stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_blocks,
                          hashlib.sha256((self.folder / name).read_bytes()).hexdigest()))
        return found

    def test_whatever_is_wrong_with_the_image(self):
        for damage, check, job in self.DAMAGES:
            self.damaged_chain(damage)
            before = self.state()
            for command, status in (
                    (('info', 'damaged'), SUCCESS), (('info', '--chain', 'top'), SUCCESS),
                    (('map', 'damaged'), SUCCESS), (('map', 'top'), SUCCESS),
                    (('graph', 'top'), SUCCESS), (('graph', '--dot', 'damaged'), SUCCESS),
                    (('check', 'damaged'), check), (('check', '--json', 'damaged'), check),
                    (('stream', '--dry-run', 'damaged'), job),
                    (('stream', '--dry-run', 'top'), SUCCESS),
                    (('commit', '--dry-run', '--top', '@1', 'top'), SUCCESS)):
                with self.subTest(damage=damage, command=command):
                    self.run_cli(*command, expect=status)
                    self.assertEqual(self.state(), before)

    def test_what_a_job_that_does_write_would_have_changed(self):
        """That the damages are such that a writable open, and a repair, leave their marks."""
        for damage, _, job in self.DAMAGES:
            with self.subTest(damage=damage):
                self.damaged_chain(damage)
                before = self.state()
                self.run_cli('check', '--repair', 'all', 'damaged')
                if damage != 'leave_the_bitmap_in_use':  # that is for whoever made it
                    self.assertNotEqual(self.state()[1], before[1])
                self.damaged_chain(damage)
                before = self.state()
                self.run_cli('stream', 'damaged', expect=FAILURE if job == REFUSED else SUCCESS)
                if job != REFUSED:
                    self.assertNotEqual(self.state()[1], before[1])

    def test_a_dry_run_says_that_a_corrupt_image_would_be_refused_and_how_it_is_mended(self):
        self.damaged_chain('mark_corrupt')
        said = self.run_cli('stream', '--dry-run', 'damaged', expect=REFUSED).stdout
        self.assertIn("would be refused: open image 'damaged' for writing: it is marked corrupt", said)
        self.assertIn("'millrace check --repair all'", said)
        refused = self.run_json('stream', '--dry-run', 'damaged', expect=REFUSED)['refused']
        self.assertIn('marked corrupt', refused)
        self.assertIn('marked corrupt', self.run_cli('stream', 'damaged', expect=FAILURE).stderr)
        self.run_cli('check', '--repair', 'all', 'damaged')
        self.run_cli('stream', '--dry-run', 'damaged')
        self.run_cli('stream', 'damaged')


def normal(runs):
    """Runs without what may differ: where a zero run lies, and how neighbours are split."""
    result = []
    for run in runs:
        run = {key: run.get(key) for key in ('start', 'length', 'depth', 'present', 'zero', 'data',
                                             'offset')}
        if run['zero']:
            run['offset'] = None
        if result:
            last = result[-1]
            goes_on = (last['offset'] is None and run['offset'] is None) or (
                None not in (last['offset'], run['offset']) and
                last['offset'] + last['length'] == run['offset'])
            if goes_on and all(last[key] == run[key]
                               for key in ('depth', 'present', 'zero', 'data')):
                last['length'] += run['length']
                continue
        result.append(run)
    return result


@needs_qemu
class Map(Cli):
    def compare(self, *arguments):
        theirs = json.loads(self.qemu('qemu-img', 'map', '--output=json', arguments[-1]))
        self.assertEqual(normal(self.run_json('map', *arguments)), normal(theirs))

    def test_agrees_with_qemu_img_on_random_chains(self):
        for seed in range(6):
            with self.subTest(seed=seed):
                chance = random.Random(seed)
                below = None
                for layer in range(3):
                    name = f'{seed}-{layer}.qcow2'
                    size = chance.choice((2, 3, 4))
                    cluster = chance.choice((512, 4096, 65536))
                    backing = ['-b', below, '-F', 'qcow2'] if below else []
                    self.qemu('qemu-img', 'create', '-f', 'qcow2', '-o',
                              f'cluster_size={cluster}', *backing, name, f'{size}M')
                    commands = []
                    for _ in range(12):
                        at = chance.randrange(size * 1024 - 65) * 1024
                        verb = chance.choice(('write -P 7', 'write -P 9', 'write -z', 'write -zu',
                                              'discard'))
                        commands.append(f'{verb} {at} {chance.randrange(1, 64)}K')
                    self.write(name, *commands)
                    below = name
                    self.compare(name)

    def test_shows_holes_of_raw_images_and_compressed_clusters(self):
        self.run_cli('create', '--format', 'raw', 'base.img', '4M')
        self.write('base.img', 'write -P 3 1M 1M', image_format='raw')
        self.run_cli('create', '--backing', 'base.img', '--backing-format', 'raw', 'top.qcow2')
        self.write('top.qcow2', 'write -c -P 5 2M 64K')
        theirs = json.loads(self.qemu('qemu-img', 'map', '--output=json', 'top.qcow2'))
        ours = self.run_json('map', 'top.qcow2')
        self.assertEqual(normal(ours), normal(theirs))
        self.assertEqual([run['start'] for run in ours if run['compressed']], [2 * MIB])

    def test_an_empty_disk_is_an_empty_list(self):
        self.run_cli('create', 'a.qcow2', '0')
        self.assertEqual(self.run_json('map', 'a.qcow2'), [])


@needs_qemu
class Check(Cli):
    def test_a_clean_image_is_clean_and_counts_agree(self):
        self.chain('a.qcow2')
        theirs = json.loads(self.qemu('qemu-img', 'check', '--output=json', 'a.qcow2'))
        ours = self.run_json('check', 'a.qcow2')
        for key in ('image-end-offset', 'total-clusters', 'allocated-clusters', 'check-errors'):
            self.assertEqual(ours[key], theirs[key], key)

    def leak(self, name):
        """A second reference to a data cluster that nobody has."""
        self.run_cli('create', name, '1M')
        self.write(name, 'write -P 1 0 64K')
        end = os.path.getsize(self.folder / name)
        with open(self.folder / name, 'r+b') as file:
            file.seek(48)
            table = int.from_bytes(file.read(8), 'big')
            file.seek(table)
            block = int.from_bytes(file.read(8), 'big')
            file.seek(block + 2 * (end // 65536))
            file.write((1).to_bytes(2, 'big'))
            file.truncate(end + 65536)

    def test_a_leak_is_found_and_repaired(self):
        self.leak('a.qcow2')
        self.qemu('qemu-img', 'check', 'a.qcow2', expect=(3,))
        done = self.run_cli('check', 'a.qcow2', expect=LEAKS)
        self.assertIn('--repair leaks', done.stdout)
        self.run_cli('check', '--repair', 'leaks', 'a.qcow2')
        self.run_cli('check', 'a.qcow2')
        self.qemu('qemu-img', 'check', 'a.qcow2')

    def test_corruption_is_found_and_repaired(self):
        self.run_cli('create', 'a.qcow2', '1M')
        self.write('a.qcow2', 'write -P 1 0 64K')
        with open(self.folder / 'a.qcow2', 'r+b') as file:
            file.seek(48)
            file.seek(int.from_bytes(file.read(8), 'big'))
            block = int.from_bytes(file.read(8), 'big')
            file.seek(block + 2 * 5)  # the data cluster's refcount
            file.write(b'\0\0')
        self.qemu('qemu-img', 'check', 'a.qcow2', expect=(2,))
        self.run_cli('check', 'a.qcow2', expect=CORRUPT)
        self.run_cli('check', '--repair', 'leaks', 'a.qcow2', expect=CORRUPT)
        self.run_cli('check', '--repair', 'all', 'a.qcow2')
        self.qemu('qemu-img', 'check', 'a.qcow2')
        self.assertEqual(self.content('a.qcow2')[:65536], b'\1' * 65536)

    def test_a_raw_image_has_nothing_to_check(self):
        self.run_cli('create', '--format', 'raw', 'a.img', '1M')
        done = self.run_cli('check', '--format', 'raw', 'a.img', expect=FAILURE)
        self.assertIn('no structure', done.stderr)


class Graph(Cli):
    def test_shows_the_nodes_in_three_forms(self):
        self.run_cli('create', 'base', '1M')
        self.run_cli('create', '--backing', 'base', '--backing-format', 'qcow2', 'top')
        nodes = {node['node']: node for node in self.run_json('graph', 'top')}
        self.assertEqual(nodes['top']['children']['backing'], 'base')
        self.assertTrue(nodes['top']['read-only'])
        self.assertEqual(len(nodes), 4)
        self.assertIn('backing -> base', self.run_cli('graph', 'top').stdout)
        self.assertRegex(self.run_cli('graph', '--dot', 'top').stdout, r'"top" -> "base"')


@needs_qemu
class Locks(Cli):
    def setUp(self):
        super().setUp()
        self.run_cli('create', 'a.qcow2', '1M')
        self.other = subprocess.Popen(['qemu-io', 'a.qcow2'], cwd=self.folder,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.other.stdin.write('write 0 512\n')
        self.other.stdin.flush()
        while 'wrote' not in self.other.stdout.readline():
            pass
        self.addCleanup(self.other.communicate, 'quit\n')

    def test_an_image_that_qemu_writes_to_is_refused_unless_shared_by_force(self):
        for command in ('info', 'map', 'check'):
            self.run_cli(command, 'a.qcow2', expect=FAILURE)
            self.run_cli(command, '--force-share', 'a.qcow2')
        for command in (('stream',), ('check', '--repair', 'all'), ('create', '--force')):
            words = (*command, 'a.qcow2') + (('2M',) if command[0] == 'create' else ())
            self.run_cli(*words, expect=FAILURE)

    def test_a_refusal_names_the_program_and_advises_what_this_command_can_do(self):
        holder = f'process {self.other.pid} (qemu-io)'
        looked = self.run_cli('info', 'a.qcow2', expect=FAILURE).stderr
        self.assertIn(holder, looked)
        self.assertIn('--force-share', looked)
        for command in (('stream', 'a.qcow2'), ('check', '--repair', 'all', 'a.qcow2')):
            wrote = self.run_cli(*command, expect=FAILURE).stderr
            self.assertIn(holder, wrote)
            self.assertIn('close it there first', wrote)
        refused = json.loads(self.run_cli('info', '--json', 'a.qcow2', expect=FAILURE).stdout)
        self.assertEqual(refused['error']['reason'], 'image-locked')
        self.assertEqual(refused['error']['holders'],
                         [{'type': 'process', 'id': str(self.other.pid)}])

    def test_a_dry_run_under_a_lock_says_that_the_job_would_be_refused(self):
        text = self.run_cli('stream', '--dry-run', 'a.qcow2', expect=REFUSED).stdout
        self.assertIn('would be refused: lock image', text)
        self.assertIn(f'process {self.other.pid} (qemu-io)', text)
        self.assertNotIn('force-share', text)


@needs_qemu
class Jobs(Cli):
    NAMES = ('base.qcow2', 'low.qcow2', 'mid.qcow2', 'top.qcow2')

    def setUp(self):
        super().setUp()
        self.chain(*self.NAMES)

    def backing(self, name):
        return self.run_json('info', name).get('backing-filename')

    def check_all(self):
        for name in self.NAMES:
            self.qemu('qemu-img', 'check', name)

    def test_stream_keeps_the_content_and_ends_at_the_base(self):
        before = self.content('top.qcow2')
        done = self.run_cli('stream', '--base', 'low.qcow2', 'top.qcow2')
        self.assertIn('done: top.qcow2 <- low.qcow2 <- base.qcow2', done.stdout)
        self.assertEqual(self.backing('top.qcow2'), 'low.qcow2')
        self.assertEqual(self.content('top.qcow2'), before)
        self.check_all()

    def test_stream_without_a_base_stands_alone(self):
        before = self.content('top.qcow2')
        answer = self.run_json('stream', 'top.qcow2')
        self.assertEqual([link['filename'] for link in answer['chain']], ['top.qcow2'])
        self.assertIsNone(self.backing('top.qcow2'))
        for name in self.NAMES[:3]:
            (self.folder / name).unlink()
        self.assertEqual(self.content('top.qcow2'), before)

    def test_stream_fills_an_image_inside_the_chain(self):
        before = self.content('top.qcow2')
        self.run_cli('stream', '--top', '@1', '--base', 'base.qcow2', 'top.qcow2')
        self.assertEqual(self.backing('mid.qcow2'), 'base.qcow2')
        self.assertEqual(self.backing('top.qcow2'), 'mid.qcow2')
        self.assertEqual(self.content('top.qcow2'), before)
        self.check_all()

    def test_backing_names_stay_relative_to_the_image(self):
        below = self.folder / 'below'
        below.mkdir()
        shutil.move(self.folder / 'base.qcow2', below / 'base.qcow2')
        self.qemu('qemu-img', 'rebase', '-u', '-b', 'below/base.qcow2', '-F', 'qcow2', 'low.qcow2')
        done = subprocess.run([PROGRAM, 'stream', '--base', 'base.qcow2', '../top.qcow2'], cwd=below,
                              capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, SUCCESS, done.stderr)
        self.assertEqual(self.backing('top.qcow2'), 'below/base.qcow2')

    def test_commit_keeps_the_content_and_drops_the_committed(self):
        before = self.content('top.qcow2')
        done = self.run_cli('commit', '--top', 'mid.qcow2', '--base', 'base.qcow2', 'top.qcow2')
        self.assertIn('done: top.qcow2 <- base.qcow2', done.stdout)
        self.assertEqual(self.backing('top.qcow2'), 'base.qcow2')
        self.assertEqual(self.content('top.qcow2'), before)
        for name in ('top.qcow2', 'base.qcow2'):
            self.qemu('qemu-img', 'check', name)

    def test_the_uppermost_image_cannot_be_committed(self):
        done = self.run_cli('commit', '--top', 'top.qcow2', 'top.qcow2', expect=FAILURE)
        self.assertIn('overlay', done.stderr)

    def test_a_dry_run_says_what_would_happen_and_changes_nothing(self):
        before = self.bytes_of(*self.NAMES)
        plan = self.run_json('stream', '--dry-run', '--base', 'low.qcow2', 'top.qcow2')
        self.assertEqual([link['filename'] for link in plan['after']],
                         ['top.qcow2', 'low.qcow2', 'base.qcow2'])
        self.assertEqual(plan['writes'], ['top.qcow2'])
        self.assertEqual(plan['claims'], ['top.qcow2', 'mid.qcow2'])
        self.assertGreater(plan['copy-bytes'], 0)
        self.assertIsNone(plan['refused'])
        plan = self.run_json('commit', '--dry-run', '--top', 'mid.qcow2', 'top.qcow2')
        self.assertEqual([link['filename'] for link in plan['after']], ['top.qcow2', 'base.qcow2'])
        self.assertEqual(plan['writes'], ['top.qcow2', 'base.qcow2'])
        told = self.run_cli('stream', '--dry-run', '--base', 'low.qcow2', 'top.qcow2').stdout
        self.assertIn('while it runs, no other job could start on: top.qcow2, mid.qcow2\n', told)
        self.assertEqual(self.bytes_of(*self.NAMES), before)

    def test_a_job_that_runs_is_told_in_json_too(self):
        before = self.content('top.qcow2')
        done = self.run_json('commit', '--top', 'mid.qcow2', '--base', 'base.qcow2', 'top.qcow2')
        self.assertEqual((done['job'], done.get('error')), ('commit', None))
        self.assertEqual(self.backing('top.qcow2'), 'base.qcow2')
        self.assertEqual(self.content('top.qcow2'), before)

    def test_a_dry_run_names_the_program_that_is_in_the_way(self):
        other = subprocess.Popen(['qemu-io', '-r', 'top.qcow2'], cwd=self.folder,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(other.communicate, 'quit\n')
        other.stdin.write('read 0 512\n')
        other.stdin.flush()
        while 'read' not in other.stdout.readline():
            pass
        text = self.run_cli('stream', '--dry-run', 'top.qcow2', expect=REFUSED).stdout
        self.assertIn('would be refused', text)

    def test_progress_is_plain_lines_in_a_log(self):
        done = self.run_cli('stream', 'top.qcow2')
        self.assertRegex(done.stderr, r'stream: done +100 %')
        self.assertNotIn('\x1b', done.stderr)
        self.assertEqual(self.run_cli('stream', '--quiet', 'top.qcow2').stderr, '')

    def test_ctrl_c_cancels_and_leaves_valid_images(self):
        before = self.content('top.qcow2')
        # At one byte a second it is held back for days, once it has begun.
        for number, command in ((signal.SIGINT, ('stream', 'top.qcow2')),
                                (signal.SIGTERM, ('commit', '--top', 'mid.qcow2', 'top.qcow2'))):
            with self.subTest(command=command):
                job = subprocess.Popen([PROGRAM, *command, '--speed', '1', '--json'],
                                       cwd=self.folder, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True)
                line = job.stderr.readline()  # the first progress line: it is at work
                self.assertRegex(line, r'(stream|commit): ')
                job.send_signal(number)
                said, errors = job.communicate(timeout=60)
                self.assertEqual(job.returncode, INTERRUPTED, line + errors)
                self.assertIn('cancelled', errors)
                self.assertNotIn('failed', errors)
                # Standard output has the answer, of a job that was cancelled too.
                told = json.loads(said)
                self.assertEqual((told['job'], told['status']), (command[0], 'cancelled'))
                self.assertTrue(0 <= told['offset'] <= told['len'] <= 8 * MIB, told)
                self.assertEqual([link['filename'] for link in told['chain']],
                                 list(reversed(self.NAMES)))
                self.check_all()
                self.assertEqual(self.backing('top.qcow2'), 'mid.qcow2')
                self.assertEqual(self.content('top.qcow2'), before)


if __name__ == '__main__':
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=1)
