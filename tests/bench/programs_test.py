#!/usr/bin/env python3
"""That the Python benchmarks run and print what is promised of them, at tiny sizes, against QEMU's
daemon and ours; never how fast anything is.

    programs_test.py MILLRACED [NAME_OF_A_TEST...]
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'bench'))
from harness import guest, images, references  # noqa: E402
from harness.daemon import Daemon  # noqa: E402
from harness.images import MIB  # noqa: E402

MILLRACED = ''
QEMU = shutil.which('qemu-storage-daemon')
TINY = ('--runs', '1', '--size-mib', '32', '--data-mib', '4', '--before-s', '0.4')
SHORT = ('--converge-s', '5')
HAS_GUEST = not guest.missing()


def run(program, *words, status=0):
    done = subprocess.run([sys.executable, '-B', ROOT / 'bench' / program, *words], text=True,
                          capture_output=True, timeout=900, check=False)
    if done.returncode != status:
        raise AssertionError(f'{program} {" ".join(map(str, words))}: exit status '
                             f'{done.returncode}\n{done.stdout}\n{done.stderr}')
    return done.stdout


@unittest.skipUnless(QEMU, 'qemu-storage-daemon is not installed')
class Programs(unittest.TestCase):
    def setUp(self):
        self.out = pathlib.Path(tempfile.mkdtemp(prefix='millrace-test-'))
        self.addCleanup(shutil.rmtree, self.out)

    def compared(self, *words):
        """({label: its printed line}, figures.json) of a comparison."""
        said = run('compare_qemu', MILLRACED, *TINY, *SHORT, '--verify', '--out', self.out, *words)
        lines = {line[:44].strip(): line[44:] for line in said.splitlines()}
        return lines, json.loads((self.out / 'figures.json').read_text())

    def check(self, figures, label, *wanted, names=('QEMU', 'millraced')):
        self.assertIn(label, figures)
        self.assertEqual(figures[label]['errors'], {})
        for name in names:
            for figure in wanted:
                self.assertGreater(figures[label][name].get(figure, 0), 0, f'{label}: {figure}')

    def test_jobs_and_layouts_beside_the_limit_and_cp(self):
        refs = ['limit', 'cp'] if references.find_limit_copy(MILLRACED) else ['cp']
        lines, figures = self.compared('--layouts', 'seq,shuffle', '--guest', '', '--refs',
                                       ','.join(refs))
        for job in ('stream', 'commit', 'active', 'mirror'):
            for layout in ('seq', 'shuffle'):
                label = f'{job} {layout}'
                self.check(figures, label, 'seconds', 'mb_s', 'durable_mb_s')
                self.check(figures, label, 'seconds', 'mb_s', names=refs)
                words = lines[label].split()
                self.assertEqual(words[0], 'mb_s')
                self.assertEqual(sum(word.startswith('x') for word in words[:4]), 1, words)
                self.assertTrue(all(float(word) > 0 for word in words[4:4 + len(refs)]), words)
        self.assertIn('faults/MB', lines['stream seq'])

    def test_jobs_beside_each_other_backends_and_caches(self):
        lines, figures = self.compared(
            '--jobs', 'stream', '--layouts', 'frag', '--guest', '', '--depths', '1,5', '--parallel',
            '1,3', '--topology', 'stacks,chain', '--aio', 'threads,io_uring', '--cache',
            'direct,writeback')
        wanted = [f'stream frag{how}, {aio}{cache}'
                  for how in ('', ', 5 layers', ', 3 jobs on stacks', ', 3 jobs in one chain',
                              ', 5 layers, 3 jobs on stacks')
                  for aio in ('threads', 'io_uring') for cache in ('', ', writeback')]
        self.assertEqual(sorted(figures), sorted(wanted))
        for label in wanted:
            self.check(figures, label, 'seconds')
            self.assertIn(label[:44].strip(), lines)

    def test_system_calls_are_counted_or_it_is_said_why_not(self):
        done = subprocess.run(
            [sys.executable, '-B', ROOT / 'bench/compare_qemu', MILLRACED, *TINY, '--jobs', 'stream',
             '--layouts', 'frag', '--guest', '', '--syscalls'], capture_output=True, text=True,
            timeout=600, check=True)
        self.assertTrue('calls/cluster' in done.stdout or 'no system calls' in done.stderr)

    @unittest.skipUnless(HAS_GUEST, guest.missing())
    def test_guests_alone_and_under_jobs(self):
        _, figures = self.compared('--layouts', '', '--guest', '1,4', '--guest-layers', '1,5')
        for depth in (1, 4):
            for layers in ('', ', 5 layers'):
                self.check(figures, f'guest alone, depth {depth}{layers}', 'quiet_iops')
            for job in ('stream', 'commit', 'active', 'mirror'):
                self.check(figures, f'guest under {job}, depth {depth}', 'quiet_iops', 'job_s',
                           'job_share', 'start_stall_ms', 'finish_stall_ms')

    @unittest.skipUnless(HAS_GUEST, guest.missing())
    def test_guests_that_write(self):
        _, figures = self.compared('--layouts', '', '--guest', '2', '--guest-patterns', 'randwrite')
        for job in ('stream', 'commit', 'active', 'mirror'):
            self.check(figures, f'guest under {job}, depth 2, randwrite', 'job_s')
        self.assertIn('converged', figures['guest under mirror, depth 2, randwrite']['millraced'])

    @unittest.skipUnless(HAS_GUEST, guest.missing())
    def test_guests_at_snapshots_and_filters(self):
        _, figures = self.compared('--jobs', '', '--layouts', '', '--guest', '1', '--guest-events',
                                   'snapshot,filter')
        for event in ('snapshot', 'filter'):
            self.check(figures, f'guest at a {event}, depth 1', 'event_stall_ms', 'command_ms')

    def test_a_backend_is_what_a_daemon_reads_and_writes_with(self):
        images.make_qcow2(self.out / 'disk.qcow2', MIB)
        for program in (MILLRACED, QEMU):
            for aio in ('threads', 'io_uring'):
                with Daemon(program, self.out, aio=aio) as daemon:
                    daemon.add('disk', self.out / 'disk.qcow2')
                    fds = pathlib.Path(f'/proc/{daemon.process.pid}/fd')
                    rings = [fd for fd in fds.iterdir() if 'io_uring' in os.readlink(fd)]
                self.assertEqual(len(rings), int(aio == 'io_uring'), f'{program} {aio}')

    def test_a_program_that_is_no_daemon_is_a_failed_cell(self):
        said = run('compare_qemu', MILLRACED, '--qemu', shutil.which('false'), *TINY, '--jobs',
                   'stream', '--layouts', 'seq,frag', '--guest', '', status=1)
        self.assertEqual(said.count('QEMU FAILED 1 times'), 2, said)
        self.assertNotIn('millraced FAILED', said)

    def test_many_nodes_and_a_chain(self):
        figures = self.out / 'scale.json'
        said = run('scale', MILLRACED, '--nodes', '10,40', '--jobs', '12', '--qemu-nodes', '10',
                   '--depth', '5', '--runs', '1', '--out', figures)
        told = json.loads(figures.read_text())
        self.assertEqual(list(told), ['10 nodes', '40 nodes', 'chain'])
        self.assertEqual(list(told['10 nodes']), ['QEMU', 'millraced'])
        self.assertEqual(list(told['40 nodes']), ['millraced'])
        self.assertIn('40 nodes, 12 jobs', said)
        for row in ('P10', 'P11', 'P12', 'P13', 'P14', 'P15'):
            self.assertIn(f'\n{row} ', said)
        self.assertNotIn('FAILED', said)

    def test_concurrency_of_either_program(self):
        for program in (MILLRACED, QEMU):
            said = run('concurrency', program, *TINY, '--jobs', '1,3', '--depths', '5', '--guest',
                       '0,1', '--layouts', 'frag', '--verify', '--out', self.out)
            rows = json.loads((self.out / 'concurrency.json').read_text())
            self.assertEqual([(row['jobs'], row['guest']) for row in rows],
                             [(1, 0), (1, int(HAS_GUEST)), (3, 0), (3, int(HAS_GUEST))], said)
            self.assertTrue(all(row['mb_s'] > 0 for row in rows), rows)
            self.assertIn('<svg', (self.out / 'concurrency.html').read_text())

    def test_the_table_has_all_rows_and_can_be_made_in_slices(self):
        run('table', MILLRACED, '--quick', '--out', self.out, '--only', 'P10,P12')
        said = run('table', MILLRACED, '--quick', '--out', self.out, '--only',
                   'P1,P3,P4,P5,P6,P11,P13,P14,P15,P16,P17')
        rows = [f'P{number}' for number in range(1, 18) if number not in (2, 7, 8, 9)]
        for row in rows:
            self.assertIn(f'\n{row} ', said)
            self.assertIn(f'\n| {row} |', (self.out / 'table.md').read_text())
        self.assertNotIn('FAILED', said)
        self.assertIn('TINY SIZES', said)
        self.assertEqual(said, (self.out / 'table.txt').read_text())

    @unittest.skipUnless(HAS_GUEST, guest.missing())
    def test_the_rows_of_guests(self):
        said = run('table', MILLRACED, '--quick', '--out', self.out, '--only', 'P7,P8,P9')
        for words in ('guest under commit: IOPS', 'finish of mirror, depth 16', 'filter put in',
                      'mirror under random writes'):
            self.assertIn(words, said)


class TwoCommits(unittest.TestCase):
    @unittest.skipUnless((ROOT / '.git').exists(), 'no repository')
    def test_a_dry_run_says_what_would_be_built_and_measured(self):
        said = run('compare', 'HEAD', 'HEAD', '--runs', '5', '--jobs', 'stream', '--layouts', 'frag',
                   '--dry-run')
        self.assertEqual(said.count('cmake --build --preset release'), 2)
        self.assertIn('\nstream frag\n', said)
        self.assertFalse(list((ROOT / 'build/compare').glob('none*')))

    @unittest.skipUnless((ROOT / '.git').exists(), 'no repository')
    def test_a_commit_that_is_not_there_is_said(self):
        run('compare', 'HEAD', 'no-such-commit', '--dry-run', status=1)


if __name__ == '__main__':
    MILLRACED = str(pathlib.Path(sys.argv[1]).resolve())
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
