#!/usr/bin/env python3
"""Progress as a user sees it: bars that redraw themselves on a terminal, plain lines in a log.

    progress_test.py MILLRACE QUICKSTART [unittest arguments]

The terminal is a pseudo-terminal with a small screen model behind it.
"""

import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

MILLRACE = QUICKSTART = ''
DEADLINE_SECONDS = 300
ERASE_LINE_ABOVE = '\x1b[1A\x1b[2K'
BAR = re.compile(r'^(\S+) +\[(#*)(\.*)\] (\w+) +(\d+) %, .+ of .+$')
BAR_CELLS = 24


class Screen:
    """A terminal that knows newlines, "up one line" and "erase this line"; lines never wrap."""

    def __init__(self):
        self.lines = ['']
        self.row = 0
        self.states = []  # the bars on the screen, after each complete drawing

    def feed(self, text):
        for piece in re.findall(r'\x1b\[[0-9;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+', text):
            if piece == '\n':
                self.row += 1
                if self.row == len(self.lines):
                    self.lines.append('')
            elif piece == '\x1b[1A':
                self.row = max(self.row - 1, 0)
            elif piece == '\x1b[2K':
                self.lines[self.row] = ''
            elif piece.startswith('\x1b'):
                raise AssertionError(f'a control sequence nobody expects: {piece!r}')
            elif piece != '\r':
                self.lines[self.row] += piece

    def bars(self):
        return [match for line in self.lines if (match := BAR.match(line))]


def run_on_terminal(*command, cwd):
    """(exit status, what the program wrote to its terminal, in the pieces in which it came)"""
    master, slave = pty.openpty()
    process = subprocess.Popen(command, cwd=cwd, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    pieces = []
    end = time.monotonic() + DEADLINE_SECONDS
    try:
        while select.select([master], [], [], max(end - time.monotonic(), 0))[0]:
            try:
                piece = os.read(master, 65536)
            except OSError:  # the last one closed it
                break
            if not piece:
                break
            pieces.append(piece.decode())
        status = process.wait(timeout=max(end - time.monotonic(), 1))
    finally:
        process.kill()
        process.wait()
        os.close(master)
    return status, pieces


class Progress(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='millrace-progress-'))
        self.addCleanup(shutil.rmtree, self.folder)

    def chain(self):
        """An overlay without data of its own over a base with 8 MiB of them."""
        (self.folder / 'base.raw').write_bytes(os.urandom(8 << 20))
        subprocess.run([MILLRACE, 'create', '--backing', 'base.raw', '--backing-format', 'raw',
                        'top.qcow2'], cwd=self.folder, check=True, stdout=subprocess.DEVNULL)

    def stream(self, *more):
        return [MILLRACE, 'stream', '--speed', '3M', *more, 'top.qcow2']

    def test_a_bar_redraws_itself_in_place_on_a_terminal(self):
        self.chain()
        status, pieces = run_on_terminal(*self.stream(), cwd=self.folder)
        text = ''.join(pieces)
        self.assertEqual(status, 0, text)
        self.assertIn(ERASE_LINE_ABOVE, text)
        screen = Screen()
        percents = []
        for piece in pieces:
            screen.feed(piece)
            bars = screen.bars()
            self.assertLessEqual(len(bars), 1, 'an old bar was left behind')
            percents += [int(bar[5]) for bar in bars]
        self.assertEqual(percents, sorted(percents))
        self.assertGreater(len(set(percents)), 3, 'the bar hardly moved')
        self.assertEqual(percents[-1], 100)
        last = screen.bars()[0]
        self.assertEqual(len(last[2]), BAR_CELLS)
        self.assertEqual(last[4], 'done')
        self.assertRegex(text, r'\d+ %, [^\n]+/s, [^\n]+ left')

    def test_the_bar_is_as_full_as_its_number_says(self):
        self.chain()
        _, pieces = run_on_terminal(*self.stream(), cwd=self.folder)
        seen = 0
        for line in re.split(r'[\r\n]+', re.sub(r'\x1b\[[0-9]*[AK]', '', ''.join(pieces))):
            if match := BAR.match(line):
                seen += 1
                self.assertEqual(len(match[2]), BAR_CELLS * int(match[5]) // 100, line)
                self.assertEqual(len(match[2]) + len(match[3]), BAR_CELLS, line)
        self.assertGreater(seen, 3)

    def test_a_log_gets_plain_lines(self):
        self.chain()
        done = subprocess.run(self.stream(), cwd=self.folder, capture_output=True, text=True,
                              timeout=DEADLINE_SECONDS, check=False)
        text = done.stdout + done.stderr
        self.assertEqual(done.returncode, 0, text)
        self.assertNotIn('\x1b', text)
        self.assertNotIn('\r', text)
        self.assertNotIn('[#', text)
        self.assertRegex(text, r'(?m)^\S+: running +0 %, ')
        self.assertRegex(text, r'(?m)^\S+: running +[1-9]\d* %, .* of 8 MiB, .*/s')
        self.assertRegex(text, r'(?m)^\S+: done +100 %, 8 MiB of 8 MiB')

    def test_quiet_is_quiet(self):
        self.chain()
        status, pieces = run_on_terminal(*self.stream('--quiet'), cwd=self.folder)
        text = ''.join(pieces)
        self.assertEqual(status, 0, text)
        self.assertNotIn('%', text)
        self.assertNotIn('\x1b', text)

    def test_the_quickstart_has_a_bar_for_each_of_its_jobs(self):
        status, pieces = run_on_terminal(QUICKSTART, '--small', cwd=self.folder)
        text = ''.join(pieces)
        self.assertEqual(status, 0, text[-3000:])
        self.assertIn(ERASE_LINE_ABOVE, text)
        screen = Screen()
        for piece in pieces:
            screen.feed(piece)
        last = {bar[1]: bar for bar in screen.bars()}
        # Three streams and two commits on each of two chains, each with one bar that is full.
        self.assertEqual(len(last), 10, '\n'.join(screen.lines))
        self.assertEqual(len(screen.bars()), 10, '\n'.join(screen.lines))
        for bar in last.values():
            self.assertEqual((bar[4], bar[5], len(bar[2])), ('done', '100', BAR_CELLS), bar[0])

    def test_the_quickstart_writes_plain_lines_to_a_log(self):
        done = subprocess.run([QUICKSTART, '--small'], capture_output=True, text=True,
                              timeout=DEADLINE_SECONDS, check=False)
        text = done.stdout + done.stderr
        self.assertEqual(done.returncode, 0, text[-3000:])
        self.assertNotIn('\x1b', text)
        self.assertEqual(len(re.findall(r'(?m)^\S+: done +100 %', text)), 10, text)


if __name__ == '__main__':
    MILLRACE, QUICKSTART = map(os.path.abspath, sys.argv[1:3])
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
