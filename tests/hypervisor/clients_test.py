"""Clients as people write them: a pipeline of asyncio, one-liners of the shell, the questions that
a management program asks when it starts, and a shell for people."""

import asyncio
import json
import shutil
import subprocess
import unittest

from support.case import TIMEOUT, Case
from support.images import MIB
from support.machine import QmpClient

MANY = 1000
SYNC = {'execute': 'query-block-jobs', 'id': 'sync'}


class Clients(Case):
    def setUp(self):
        super().setUp()
        base = self.images.create('base.img', 4 * MIB)
        self.images.io('base.img', 'write -P 1 0 4M')
        self.vm.drive(self.images.create('top.img', backing=base), 'node-name=top')
        self.path = self.images.path('a.sock')
        self.vm.chardev(f'socket,id=a,path={self.path},server=on,wait=off')
        self.vm.monitor('chardev=a,mode=control')
        self.vm.launch()

    # ---- asyncio ---------------------------------------------------------------------------------

    def talk(self, conversation):
        """Runs a coroutine with a negotiated connection's two ends."""
        async def run():
            reader, writer = await asyncio.open_unix_connection(self.path, limit=64 * MIB)
            try:
                self.assertIn('QMP', json.loads(await reader.readline()))
                writer.write(b'{"execute": "qmp_capabilities"}\n')
                self.assertEqual(json.loads(await reader.readline()), {'return': {}})
                return await conversation(reader, writer)
            finally:
                writer.close()
        return asyncio.run(asyncio.wait_for(run(), 4 * TIMEOUT))

    @staticmethod
    async def replies(reader, count):
        found = []
        while len(found) < count:
            message = json.loads(await reader.readline())
            if 'event' not in message:
                found.append(message)
        return found

    def test_a_thousand_commands_without_waiting_are_answered_in_order(self):
        requests = []
        for number in range(MANY):
            name = ('query-jobs', 'query-version', 'no-such-command', 'query-named-block-nodes',
                    'job-dismiss')[number % 5]
            requests.append({'execute': name, 'id': number})
            if name == 'job-dismiss':
                requests[-1]['arguments'] = {'id': 'nobody'}

        async def conversation(reader, writer):
            writer.write(b''.join(json.dumps(request).encode() for request in requests))
            answered = await self.replies(reader, MANY)
            await writer.drain()
            return answered

        answered = self.talk(conversation)
        self.assertEqual([reply['id'] for reply in answered], list(range(MANY)))
        refused = {'no-such-command': ('CommandNotFound',
                                       'The command no-such-command has not been found'),
                   'job-dismiss': ('GenericError', 'Job not found')}
        for request, reply in zip(requests, answered):
            text = refused.get(request['execute'])
            told = reply.get('error')
            self.assertEqual(told and (told['class'], told['desc']), text, request)

    def test_jobs_of_a_pipeline_come_and_go_in_the_order_of_the_requests(self):
        async def conversation(reader, writer):
            # The second comes while the first holds the chain, the last when all is over.
            start = {'execute': 'block-stream',
                     'arguments': {'device': 'drive0', 'job-id': 's', 'speed': 65536}}
            cancel = {'execute': 'block-job-cancel', 'arguments': {'device': 's', 'force': True}}
            for number, request in enumerate((start, start, cancel)):
                writer.write(json.dumps({**request, 'id': number}).encode())
            found, ended = [], False
            while len(found) < 3 or not ended:
                message = json.loads(await reader.readline())
                ended = ended or message.get('event') == 'BLOCK_JOB_CANCELLED'
                if 'event' not in message:
                    found.append(message)
            return found

        first, second, third = self.talk(conversation)
        self.assertEqual((first, third), ({'return': {}, 'id': 0}, {'return': {}, 'id': 2}))
        self.assertEqual(second['error']['desc'],
                         "Node 'drive0' is busy: block device is in use by block job: stream")
        self.vm.qmp.wait_event('JOB_STATUS_CHANGE', id='s', status='null')
        self.assert_no_job()

    def test_ids_of_any_kind_come_back_from_a_pipeline(self):
        ids = [0, -1, 1.5, '', 'x', True, False, None, [], {}, [1, [2, {'a': None}]],
               {'a': {'b': ['ü', '\u2028']}}, 9223372036854775807]

        async def conversation(reader, writer):
            for ident in ids:
                writer.write(json.dumps({'id': ident, 'execute': 'query-jobs'}).encode())
            return await self.replies(reader, len(ids))

        self.assertEqual(self.talk(conversation), [{'return': [], 'id': ident} for ident in ids])

    # ---- One-liners ------------------------------------------------------------------------------

    def shell(self, text, *words):
        done = subprocess.run(words, input=text.encode(), stdout=subprocess.PIPE, timeout=TIMEOUT,
                              check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    @unittest.skipUnless(shutil.which('socat'), 'socat is not installed')
    def test_socat(self):
        told = self.shell('{"execute":"qmp_capabilities"}{"execute":"query-jobs"}',
                          'socat', '-t', '60', '-', f'UNIX-CONNECT:{self.path}')
        self.assertIn('QMP', told[0])
        self.assertEqual(told[1:], [{'return': {}}, {'return': []}])

    def test_a_client_that_says_all_and_closes_its_half_hears_all(self):
        told = self.shell('{"execute":"qmp_capabilities"}\r\n{"execute":"query-jobs"}\r\n\r\n',
                          'python3', '-c',
                          'import socket, sys\n'
                          's = socket.socket(socket.AF_UNIX)\n'
                          f's.connect({self.path!r})\n'
                          's.sendall(sys.stdin.buffer.read())\n'
                          's.shutdown(socket.SHUT_WR)\n'
                          'while data := s.recv(65536):\n'
                          '    sys.stdout.buffer.write(data)\n')
        self.assertIn('QMP', told[0])
        self.assertEqual(told[1:], [{'return': {}}, {'return': []}])

    # ---- A management program --------------------------------------------------------------------

    def test_what_is_asked_at_the_start(self):
        """The questions of a program like libvirt, before it does anything: each is answered."""
        qmp = QmpClient.connect(self.path, TIMEOUT, negotiate=False)
        self.addCleanup(qmp.close)
        offered = qmp.greeting['capabilities']
        qmp.command('qmp_capabilities', **({'enable': ['oob']} if 'oob' in offered else {}))
        self.assertEqual(qmp.command('query-version'), qmp.greeting['version'])
        names = {command['name'] for command in qmp.command('query-commands')}
        self.assertLessEqual({'blockdev-add', 'block-stream', 'job-dismiss', 'query-chardev',
                              'x-blockdev-change', 'query-name'}, names)
        schema = qmp.command('query-qmp-schema')
        self.assertEqual(len({entry['name'] for entry in schema}), len(schema))
        self.assertLessEqual(names, {entry['name'] for entry in schema
                                     if entry['meta-type'] == 'command'})
        for query in ('query-jobs', 'query-block-jobs', 'query-block-exports', 'query-iothreads',
                      'query-fdsets', 'query-named-block-nodes', 'query-block', 'query-chardev'):
            self.assertIsInstance(qmp.command(query), list, query)
        self.assertEqual(qmp.command('query-name'), {})
        self.assertEqual(qmp.command('query-uuid'),
                         {'UUID': '00000000-0000-0000-0000-000000000000'})
        self.assertTrue({'query-status', 'query-events'} & names)
        nodes = qmp.command('query-named-block-nodes', flat=True)
        self.assertIn('top', [node['node-name'] for node in nodes])
        self.assertFalse(any('backing-image' in node['image'] for node in nodes))
        self.assertEqual(qmp.execute('job-dismiss', {'id': 'nobody'})['error']['desc'],
                         'Job not found')

    def test_who_the_chardevs_are(self):
        told = {chardev['label']: chardev for chardev in self.vm.command('query-chardev')}
        self.assertEqual(set(told) - {'parallel0', 'compat_monitor0'}, {'a', 'mon'})
        self.assertTrue(told['a']['filename'].startswith(f'disconnected:unix:{self.path}')
                        or told['a']['filename'].startswith(f'unix:{self.path}'))
        self.assertIs(told['mon']['frontend-open'], True)

    def test_a_secret_comes_before_what_it_is_for(self):
        self.vm.command('object-add', qom_type='secret', id='key', format='base64', data='QUJD')
        for text, arguments in (
                ('Base64 data contains invalid characters', {'format': 'base64', 'data': '?'}),
                ("Either 'file' or 'data' must be provided", {}),
                ("'file' and 'data' are mutually exclusive", {'data': 'a', 'file': 'b'}),
                ("Parameter 'format' does not accept value 'none'",
                 {'data': 'a', 'format': 'none'}),
                ("attempt to add duplicate property 'key' to object (type 'container')",
                 {'data': 'a', 'id': 'key'})):
            with self.subTest(text=text):
                self.assert_refused(text, 'object-add',
                                    **{'qom_type': 'secret', 'id': 'other', **arguments})
        self.vm.command('object-del', id='key')
        self.assert_refused("object 'key' not found", 'object-del', id='key')

    def test_out_of_band_is_enabled_only_where_it_is_offered(self):
        qmp = QmpClient.connect(self.path, TIMEOUT, negotiate=False)
        self.addCleanup(qmp.close)
        reply = qmp.execute('qmp_capabilities', {'enable': ['oob']})
        if 'oob' in qmp.greeting['capabilities']:
            self.assertEqual(reply, {'return': {}})
            return
        self.assertEqual(reply['error']['class'], 'GenericError')
        self.assertEqual(qmp.execute('qmp_capabilities'), {'return': {}})
        refused = qmp.request({'exec-oob': 'query-jobs'})
        self.assertEqual(refused['error']['class'], 'GenericError')
        self.assertEqual(qmp.command('query-jobs'), [])

    # ---- A shell for people ----------------------------------------------------------------------

    def test_what_a_shell_for_people_sends(self):
        """It makes arguments of words, completes names from query-commands and shows pretty JSON."""
        names = [command['name'] for command in self.vm.command('query-commands')]
        self.assertEqual(len(names), len(set(names)))
        for line, text in (
                ('blockdev-add node-name=n driver=null-co size=1048576', None),
                ('blockdev-add node-name=n driver=null-co', "Duplicate nodes with node-name='n'"),
                ('block_resize node-name=n size=many',
                 "Invalid parameter type for 'size', expected: integer"),
                ('blockdev-del node-name=n', None),
                ('blockdev-del', "Parameter 'node-name' is missing"),
                ('blockdev-del node-name=n what=1', "Parameter 'what' is unexpected")):
            command, *words = line.split()
            arguments = {}
            for word in words:
                key, _, value = word.partition('=')
                arguments[key] = int(value) if value.isdecimal() else value
            with self.subTest(line=line):
                self.assertIn(command, names)
                reply = self.vm.qmp.execute(command, arguments or None)
                self.assertEqual(reply.get('error', {}).get('desc'), text)


if __name__ == '__main__':
    unittest.main()
