"""x-millrace-trace: a timeline that Chrome and Perfetto load. Only millraced has it."""

import json
import unittest

from support.case import Case
from support.images import MIB


class Trace(Case):
    def setUp(self):
        super().setUp()
        paths = self.images.chain('base.img', 'top.img')
        self.images.io('base.img', 'write -P 1 0 1M')
        self.vm.drive(paths[-1], 'node-name=top,backing.node-name=base').launch()

    def check(self, trace):
        """It is a trace as the format wants it; returns its events by category."""
        found, open_spans = {}, {}
        for event in trace['traceEvents']:
            self.assertIn(event['ph'], 'MXbe')
            self.assertEqual(event['pid'], 1)
            if event['ph'] == 'M':
                continue
            self.assertGreaterEqual(event['ts'], 0)
            found.setdefault(event['cat'], []).append(event)
            if event['ph'] == 'X':
                self.assertGreaterEqual(event['dur'], 0)
            elif event['ph'] == 'b':
                open_spans.setdefault((event['cat'], event['id']), []).append(event['ts'])
            else:
                begun = open_spans[(event['cat'], event['id'])].pop()
                self.assertLessEqual(begun, event['ts'])
        self.assertEqual([key for key, begun in open_spans.items() if begun], [])
        return found

    def stream(self):
        self.vm.command('block-stream', device='drive0')
        self.wait_ended()

    def test_a_stream_is_drawn(self):
        self.vm.command('x-millrace-trace', action='start')
        self.stream()
        told = self.vm.command('x-millrace-trace', action='stop')
        self.assertEqual(told['dropped'], 0)
        found = self.check(told['trace'])
        self.assertIn('block-stream', [event['name'] for event in found['command']])
        states = [event['name'] for event in found['job'] if event['ph'] == 'b']
        self.assertEqual(states, [f'drive0: {state}' for state in
                                  ('created', 'running', 'waiting', 'pending', 'concluded')])
        self.assertTrue(any(event['name'].startswith('write') for event in found['io']))
        self.assertTrue(any('stream job' in event['name'] for event in found['drain']))
        # Steps follow each other on one track and never overlap.
        steps = sorted((event['ts'], event['dur']) for event in found['step'])
        for (ts, dur), (following, _) in zip(steps, steps[1:]):
            self.assertLessEqual(round(ts + dur, 3), following)

    def test_into_a_file(self):
        path = self.images.path('trace.json')
        self.vm.command('x-millrace-trace', action='start', filename=path)
        self.stream()
        told = self.vm.command('x-millrace-trace', action='stop')
        self.assertEqual(told['filename'], path)
        with open(path, encoding='utf-8') as file:
            self.check(json.load(file))

    def test_what_is_too_much_is_counted_and_left_out(self):
        self.vm.command('x-millrace-trace', action='start', max_bytes=4096)
        self.stream()
        told = self.vm.command('x-millrace-trace', action='stop')
        self.assertGreater(told['dropped'], 0)
        self.assertLess(told['bytes'], 4096 + 100)
        self.assertEqual(told['trace']['otherData']['dropped'], told['dropped'])
        self.check(told['trace'])

    def test_it_can_be_repeated(self):
        for _ in range(3):
            self.vm.command('x-millrace-trace', action='start')
            self.check(self.vm.command('x-millrace-trace', action='stop')['trace'])
        self.stream()

    def test_mistakes(self):
        self.assert_refused('No trace is being recorded', 'x-millrace-trace', action='stop')
        self.assert_refused("Parameter 'max-bytes' expects a value in range [4096, 4194304]",
                            'x-millrace-trace', action='start', max_bytes=1 << 40)
        self.assert_refused("Could not open '/nonexistent/trace' for writing",
                            'x-millrace-trace', action='start', filename='/nonexistent/trace')
        self.vm.command('x-millrace-trace', action='start')
        self.assert_refused('A trace is being recorded: stop it first', 'x-millrace-trace',
                            action='start')

    def test_a_daemon_ends_in_the_middle_of_one(self):
        self.vm.command('x-millrace-trace', action='start')
        self.vm.command('block-stream', device='drive0', speed=1024)
        self.assertEqual(self.vm.quit(), 0)


if __name__ == '__main__':
    unittest.main()
