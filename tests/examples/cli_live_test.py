#!/usr/bin/env python3
"""millrace jobs, graph and explain against a running millraced: cli_live_test.py MILLRACE MILLRACED"""

import contextlib
import json
import os
import pathlib
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / 'examples/hypervisor/client'))
from qmp import QmpClient  # noqa: E402

MILLRACE, MILLRACED = sys.argv[1], sys.argv[2]
MIB = 1 << 20


class Daemon(unittest.TestCase):
    """top (drive0, a slow stream into it) <- mid <- base."""

    protocol = ''  # in front of the name of top

    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory(prefix='millrace-live-')
        self.addCleanup(self.temporary.cleanup)
        self.folder = pathlib.Path(self.temporary.name)
        self.socket = str(self.folder / 'qmp')
        with open(self.folder / 'base', 'wb') as base:
            base.write(b'x' * MIB)
            base.truncate(64 * MIB)
        self.image('mid', 'base', 'raw')
        self.image('top', 'mid', 'qcow2')
        self.daemon = subprocess.Popen(
            [MILLRACED, '--chardev', f'socket,id=m,path={self.folder}/ours,server=on,wait=off',
             # A monitor serves one client at a time: the tool has one of its own.
             '--chardev', f'socket,id=tool,path={self.socket},server=on,wait=off',
             '--drive', f'if=virtio,id=drive0,file={self.protocol}{self.folder}/top,format=qcow2,'
                        'node-name=top,backing.node-name=mid,backing.backing.node-name=base',
             '--monitor', 'chardev=m,mode=control', '--monitor', 'chardev=tool,mode=control'],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.addCleanup(self.end)
        self.qmp = QmpClient.connect(f'{self.folder}/ours')

    def end(self):
        if self.daemon.poll() is None:
            self.qmp.command('quit')
            self.assertEqual(self.daemon.wait(60), 0)
        self.qmp.close()

    def image(self, name, backing, backing_format):
        subprocess.run([MILLRACE, 'create', '--backing', f'{self.folder}/{backing}',
                        '--backing-format', backing_format, f'{self.folder}/{name}'], check=True,
                       stdout=subprocess.DEVNULL)

    def run_cli(self, *words, expect=0):
        done = subprocess.run([MILLRACE, *words], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done

    def look(self, command, *words, expect=0):
        return self.run_cli(command, '--socket', self.socket, *words, expect=expect).stdout

    def start_slow_stream(self):
        """It copies its first piece and then stands still."""
        self.qmp.command('block-stream', device='drive0', speed=1, auto_finalize=False,
                         filter_node_name='cor')


class Live(Daemon):
    # ---- jobs ------------------------------------------------------------------------------------

    def test_no_jobs(self):
        self.assertEqual(self.look('jobs'), 'no jobs\n')
        self.assertEqual(json.loads(self.look('jobs', '--json', '--once')), [])

    def test_one_look(self):
        self.start_slow_stream()
        text = self.look('jobs', '--once')
        self.assertRegex(text, r'^stream drive0: \w+ +\d+ %, .* of 64 MiB, at most 1 B/s\n$')
        (job,) = json.loads(self.look('jobs', '--json', '--once'))
        self.assertEqual((job['device'], job['type']), ('drive0', 'stream'))

    def test_watching_ends_with_the_last_job(self):
        self.start_slow_stream()
        watch = subprocess.Popen([MILLRACE, 'jobs', '--socket', self.socket],
                                 stdout=subprocess.PIPE, text=True)
        self.addCleanup(watch.kill)
        self.assertIn('stream drive0: ', self.first_line(watch))
        self.qmp.command('block-job-set-speed', device='drive0', speed=0)
        self.qmp.wait_event('BLOCK_JOB_PENDING')
        self.qmp.command('job-finalize', id='drive0')
        rest, _ = watch.communicate(timeout=60)
        self.assertEqual(watch.returncode, 0)
        self.assertTrue(rest.endswith('no jobs\n'), rest)

    def test_ctrl_c_ends_the_look_and_not_the_job(self):
        self.start_slow_stream()
        watch = subprocess.Popen([MILLRACE, 'jobs', '--socket', self.socket],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(watch.kill)
        self.assertIn('stream drive0: ', self.first_line(watch))
        watch.send_signal(signal.SIGINT)
        _, errors = watch.communicate(timeout=60)
        self.assertEqual((watch.returncode, errors), (130, 'millrace: interrupted\n'))
        (job,) = self.qmp.command('query-block-jobs')
        self.assertEqual(job['status'], 'running')

    def test_a_terminal_shows_rate_and_time_left_as_they_change(self):
        """It takes three seconds: a rate is measured over half of one, and this one changes."""
        for name in ('source', 'target'):
            self.qmp.command('blockdev-add', driver='null-co', node_name=name, size=2048 * MIB)
        self.qmp.command('blockdev-mirror', device='source', target='target', sync='full',
                         job_id='m', speed=40 * MIB)
        terminal, theirs = pty.openpty()
        watch = subprocess.Popen([MILLRACE, 'jobs', '--socket', self.socket], stdin=theirs,
                                 stdout=theirs, stderr=theirs)
        self.addCleanup(os.close, terminal)
        self.addCleanup(watch.kill)
        os.close(theirs)
        slow = self.read_until(terminal, lambda shown: len(shown) >= 1)[-1]
        self.qmp.command('block-job-set-speed', device='m', speed=256 * MIB)
        # Its rate, and the time that is left, move by and by to what is so now.
        fast = self.read_until(terminal, lambda shown: shown and shown[-1][1] > 2 * slow[1])[-1]
        self.assertGreater(fast[0], slow[0])
        self.assertLess(fast[2], slow[2])
        self.qmp.command('block-job-cancel', device='m', force=True)
        with contextlib.suppress(OSError):  # the terminal's end
            while self.read_some(terminal):
                pass
        self.assertEqual(watch.wait(60), 0)

    def read_some(self, descriptor, so_far=''):
        self.assertTrue(select.select([descriptor], [], [], 60)[0], so_far or 'nothing more came')
        return os.read(descriptor, 65536).decode()

    def first_line(self, watch):
        """What it says first, unread so far."""
        line = ''
        while not line.endswith('\n'):
            self.assertTrue(select.select([watch.stdout], [], [], 60)[0], line)
            self.assertTrue(more := os.read(watch.stdout.fileno(), 1).decode(), line)
            line += more
        return line

    def read_until(self, terminal, enough):
        """(percent, MiB a second, seconds left) of each drawing that has all three."""
        text = ''
        line = re.compile(r'm +\[[#.]*\] \w+ +(\d+) %, [^\n]*, ([\d.]+) MiB/s, (\d+) s left')
        while not enough(shown := [tuple(map(float, one)) for one in line.findall(text)]):
            text += self.read_some(terminal, text)
            self.assertNotIn('ready', text)  # it has copied everything, and nothing more will change
        return shown

    # ---- graph -----------------------------------------------------------------------------------

    def test_graph_as_text_and_dot_and_json(self):
        self.start_slow_stream()
        text = self.look('graph')
        self.assertIn("backing -> mid", text)
        self.assertIn("leased by stream job 'drive0'", text)
        self.assertTrue(self.look('graph', '--dot').startswith('digraph'))
        names = {node['name'] for node in json.loads(self.look('graph', '--json'))['nodes']}
        self.assertLessEqual({'cor', 'top', 'mid', 'base'}, names)

    def test_the_picture(self):
        self.start_slow_stream()
        picture = xml.etree.ElementTree.fromstring(self.look('graph', '--svg'))
        space = '{http://www.w3.org/2000/svg}'
        boxes = [tuple(int(one.get(key)) for key in ('x', 'y', 'width', 'height'))
                 for one in picture.iter(space + 'rect') if 'node' in (one.get('class') or '')]
        self.assertEqual(len(boxes), 7)  # cor, three images and their files
        for i, (x, y, width, height) in enumerate(boxes):
            for x2, y2, width2, height2 in boxes[:i]:
                self.assertTrue(x + width <= x2 or x2 + width2 <= x or y + height <= y2
                                or y2 + height2 <= y, 'two boxes overlap')
        classes = [one.get('class') for one in picture.iter() if one.get('class')]
        self.assertEqual(classes.count('link frozen'), 3)  # cor, top, mid, base
        self.assertEqual(classes.count('claimed'), 4)
        self.assertEqual(classes.count('span'), 1)
        words = ' '.join(one.text or '' for one in picture.iter(space + 'text'))
        for word in ('cor', 'top', 'mid', 'base', "stream job 'drive0'", "frozen by"):
            self.assertIn(word, words)

    # ---- explain ---------------------------------------------------------------------------------

    def test_explain(self):
        self.start_slow_stream()
        text = self.look('explain')
        self.assertRegex(text, r"(?m)^stream job 'drive0' is \w+, \d+ % of 64 MiB")
        self.assertRegex(text, r'(?m)^  freezes +cor -> top -> mid -> base$')
        self.assertRegex(text, r"(?m)^block device 'drive0'")
        self.assertRegex(text, r'(?m)^  drive0 for its turn, in \d+')
        self.assertIn('holders', json.loads(self.look('explain', '--json')))

    # ---- Mistakes --------------------------------------------------------------------------------

    def test_nobody_there(self):
        nowhere = str(self.folder / 'nowhere')
        for command in ('jobs', 'graph', 'explain'):
            done = self.run_cli(command, '--socket', nowhere, expect=1)
            self.assertIn(f"cannot connect to '{nowhere}'", done.stderr)
        for words in (('jobs',), ('explain',), ('graph',), ('graph', '--svg', 'x'),
                      ('graph', '--socket', nowhere, 'x')):
            self.run_cli(*words, expect=2)

    def test_a_daemon_that_does_not_answer_can_be_left(self):
        path = str(self.folder / 'silent')
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen(1)
            for command in ('jobs', 'graph', 'explain'):
                waiting = subprocess.Popen([MILLRACE, command, '--socket', path],
                                           stderr=subprocess.PIPE, text=True)
                peer, _ = server.accept()
                with peer:
                    waiting.send_signal(signal.SIGTERM)
                    _, errors = waiting.communicate(timeout=60)
                self.assertEqual((waiting.returncode, errors), (130, 'millrace: interrupted\n'))

    def test_something_else_there(self):
        path = str(self.folder / 'other')
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen(1)
            done = subprocess.Popen([MILLRACE, 'jobs', '--socket', path], stderr=subprocess.PIPE,
                                    text=True)
            peer, _ = server.accept()
            peer.sendall(b'220 mail.example.org ESMTP\r\n')
            peer.close()
            self.assertRegex(done.communicate(timeout=60)[1], 'millrace: .+')
            self.assertEqual(done.returncode, 1)


class Stuck(Daemon):
    """A guest's write stands at a break point, so that a stream cannot bring its disk to rest."""

    protocol = 'blkdebug::'
    OBSTACLE = "1 requests in flight on node 'top'"

    def setUp(self):
        super().setUp()
        self.io('write 32M 512')  # what it writes again later is allocated
        self.qmp.command('block-stream', device='drive0', speed=1, auto_finalize=False,
                         filter_node_name='cor')
        while self.qmp.command('query-block-jobs')[0]['offset'] == 0:
            pass
        self.io('break write_aio stuck')
        self.io('aio_write 32M 512')
        self.io('wait_break stuck')
        self.qmp.command('block-job-set-speed', device='drive0', speed=0)
        self.qmp.wait_event('BLOCK_JOB_PENDING')
        self.qmp.command('job-finalize', id='drive0')
        while not self.qmp.command('x-millrace-explain')['graph']['sections']:
            pass

    def end(self):
        if self.daemon.poll() is None:
            self.io('remove_break stuck')
            self.qmp.wait_event('BLOCK_JOB_COMPLETED')
        super().end()

    def io(self, command):
        self.qmp.command('human-monitor-command', command_line=f'qemu-io drive0 "{command}"')

    def test_explain_says_who_waits_for_what_and_held_by_whom(self):
        self.io('aio_write 33M 512')  # queues until the disk has come to rest, and goes on
        text = self.look('explain')
        self.assertRegex(text, rf'(?m)^  waits to +drain top: {self.OBSTACLE}$')
        self.assertRegex(text, rf"(?m)^  drive0 for drain of 'top', held by {self.OBSTACLE} "
                         r'\(\d+ \w+ so far\)$')
        self.assertRegex(text, r"(?m)^  aio_write for break point 'stuck'; resume it \(\d+")
        self.assertRegex(text, r"(?m)^  aio_write for [^\n]+, held by drained section of stream "
                         r"job 'drive0' \(\d+")

    def test_a_node_that_is_drained_is_drawn_as_such(self):
        picture = xml.etree.ElementTree.fromstring(self.look('graph', '--svg'))
        space = '{http://www.w3.org/2000/svg}'
        boxes = [one for one in picture.iter(space + 'rect') if 'node' in (one.get('class') or '')]
        words = {}
        for one in picture.iter(space + 'text'):
            for box in boxes:
                x, y, width, height = (int(box.get(key)) for key in ('x', 'y', 'width', 'height'))
                if x <= int(one.get('x')) <= x + width and y <= int(one.get('y')) <= y + height:
                    words.setdefault(box, []).append(one.text)
        drained = {words[box][0]: (box.get('class'), box.get('fill'),
                                   "being drained by stream job 'drive0'" in words[box])
                   for box in boxes}
        self.assertEqual(drained['top'], ('node drained', '#cccccc', True))
        for name in ('mid', 'base'):
            self.assertEqual(drained[name], ('node', '#f6f8fa', False))


if __name__ == '__main__':
    del sys.argv[1:]
    unittest.main()
