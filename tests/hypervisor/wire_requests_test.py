"""QMP on the wire: the greeting, negotiation, ids, and what is wrong with a request."""

import json
import os
import unittest

from support.case import BACKEND, Case

needs_blocks = unittest.skipUnless(BACKEND.reads_blocks, 'it reads its monitor byte by byte')
PARSE = 'JSON parse error, '
SYNC = b'{"execute": "query-block-jobs", "id": "sync"}\n'


class Wire(Case):
    def setUp(self):
        super().setUp()
        self.vm.blockdev({'driver': 'null-co', 'node-name': 'null', 'size': 1 << 20})

    def answers(self, data):
        """What comes for these bytes, up to the answer to a request of our own sent after them."""
        self.vm.qmp.send(data)
        self.vm.qmp.send(SYNC)
        told = []
        while True:
            reply = self.vm.qmp.next_reply()
            if reply.get('id') == 'sync':
                return told
            told.append(reply)

    def errors(self, data):
        return [(reply['error']['class'], reply['error']['desc']) for reply in self.answers(data)]

    def assert_errors(self, table, error_class='GenericError'):
        for data, *texts in table:
            with self.subTest(data=data[:80]):
                self.assertEqual(self.errors(data + b'\n'), [(error_class, t) for t in texts])


class Negotiation(Wire):
    def setUp(self):
        super().setUp()
        self.vm.launch(negotiate=False)

    def tearDown(self):
        self.vm.reply('qmp_capabilities')
        super().tearDown()

    def test_greeting(self):
        greeting = self.vm.qmp.greeting
        self.assertEqual(set(greeting), {'version', 'capabilities'})
        self.assertEqual(set(greeting['version']), {'qemu', 'package'})
        self.assertEqual(set(greeting['version']['qemu']), {'major', 'minor', 'micro'})
        self.assertTrue(all(isinstance(n, int) for n in greeting['version']['qemu'].values()))
        self.assertIsInstance(greeting['version']['package'], str)
        self.assertIsInstance(greeting['capabilities'], list)

    def test_nothing_else_is_accepted_before(self):
        text = "Expecting capabilities negotiation with 'qmp_capabilities'"
        for name in ('query-version', 'quit', 'no-such-command'):
            self.assert_refused(text, name, error_class='CommandNotFound')
        self.vm.qmp.send(b'{"execute": "query-block", "id": [1]}')
        self.assertEqual(self.vm.qmp.next_reply(),
                         {'id': [1], 'error': {'class': 'CommandNotFound', 'desc': text}})

    def test_a_capability_nobody_knows(self):
        reply = self.vm.reply('qmp_capabilities', enable=['no-such-capability'])
        self.assertEqual(reply['error']['class'], 'GenericError')
        self.assertIn("does not accept value 'no-such-capability'", reply['error']['desc'])
        self.assertEqual(self.vm.reply('qmp_capabilities'), {'return': {}})

    def test_enable_may_be_empty(self):
        self.assertEqual(self.vm.reply('qmp_capabilities', enable=[]), {'return': {}})

    def test_once_only(self):
        self.assertEqual(self.vm.reply('qmp_capabilities'), {'return': {}})
        self.assert_refused('Capabilities negotiation is already complete, command ignored',
                            'qmp_capabilities', error_class='CommandNotFound')
        self.assertIn('qemu', self.vm.command('query-version'))


class Requests(Wire):
    def setUp(self):
        super().setUp()
        self.vm.launch()

    def test_query_version_is_the_greeting_s(self):
        self.assertEqual(self.vm.command('query-version'), self.vm.qmp.greeting['version'])

    def test_any_value_is_an_id_and_comes_back(self):
        for ident in (1, -5, 1.5, 'text', '', None, True, [], {}, [1, {'a': [None]}], 2 ** 62,
                      'é\u20ac\U0001f600"\\\n'):
            with self.subTest(id=ident):
                told = self.answers(json.dumps({'execute': 'query-block-jobs', 'id': ident}).encode())
                self.assertEqual(told, [{'return': [], 'id': ident}])

    def test_errors_carry_the_id_too(self):
        told = self.answers(b'{"execute": "no-such-command", "id": {"a": 1}}')
        self.assertEqual(told[0]['id'], {'a': 1})
        self.assertEqual(told[0]['error'].get('class'), 'CommandNotFound')
        self.assertEqual(self.answers(b'{"id": 7}')[0]['id'], 7)

    def test_without_an_id_there_is_none(self):
        self.assertEqual(self.answers(b'{"execute": "query-block-jobs"}'), [{'return': []}])

    def test_requests_are_separated_by_their_ends_alone(self):
        one = b'{"execute": "query-block-jobs", "id": %d}'
        told = self.answers(one % 1 + one % 2 + b' \t\r\n\n' + one % 3)
        self.assertEqual([reply['id'] for reply in told], [1, 2, 3])

    def test_a_request_may_come_byte_by_byte(self):
        for byte in b'{"execute":"query-block-jobs","id":"slow \\u00e4"}':
            self.vm.qmp.send(bytes([byte]))
        self.assertEqual(self.answers(b''), [{'return': [], 'id': 'slow ä'}])

    def test_a_request_may_span_lines(self):
        self.assertEqual(self.answers(b'{\n "execute"\n:\r\n "query-block-jobs"\t}'),
                         [{'return': []}])

    def test_single_quotes_are_quotes(self):
        self.assertEqual(self.answers(b"{'execute': 'query-block-jobs', 'id': 'it\\'s'}"),
                         [{'return': [], 'id': "it's"}])

    def test_replies_come_in_the_order_of_the_requests(self):
        many = b''.join(b'{"execute": "query-block-jobs", "id": %d}' % i for i in range(200))
        self.assertEqual([reply['id'] for reply in self.answers(many)], list(range(200)))


class Wrong(Wire):
    """Each of these gets its error, and the connection goes on."""

    def setUp(self):
        super().setUp()
        self.vm.launch()

    def test_what_is_no_json(self):
        self.assert_errors((
            (b'hello', PARSE + "invalid keyword 'hello'"),
            (b'nul', PARSE + "invalid keyword 'nul'"),
            (b'{"a": 1,}', PARSE + 'expecting value'),
            (b'{"execute": "query-name" "x"}', PARSE + 'expected separator in dict'),
            (b'}', PARSE + 'expecting value'),
            (b'[1 2]', PARSE + 'expected separator in list'),
            (b'{"execute": "query-name", "execute": "query-name"}', PARSE + 'duplicate key'),
            (b'{"x": -}', PARSE + "stray '-}'"),
            (b'{"x": 01}', PARSE + "stray '01'", PARSE + 'expecting value'),
            (b'{"execute": "query-\\ud800"}',
             PARSE + '\\ud800 is not a valid Unicode character')))

    def test_what_is_no_request(self):
        self.assert_errors((
            (b'"text"', 'QMP input must be a JSON object'),
            (b'1', 'QMP input must be a JSON object'),
            (b'true', 'QMP input must be a JSON object'),
            (b'[]', 'QMP input must be a JSON object'),
            (b'{}', "QMP input lacks member 'execute'"),
            (b'{"execute": 1}', "QMP input member 'execute' must be a string"),
            (b'{"execute": "query-version", "foo": 1}', "QMP input member 'foo' is unexpected"),
            (b'{"execute": "query-version", "arguments": []}',
             "QMP input member 'arguments' must be an object"),
            (b'{"execute": "query-version", "arguments": null}',
             "QMP input member 'arguments' must be an object"),
            (b'{"exec-oob": "query-version"}', "QMP input member 'exec-oob' is unexpected"),
            (b'{"execute": "query-version", "exec-oob": "query-version"}',
             "QMP input member 'exec-oob' is unexpected")))

    def test_commands_nobody_knows(self):
        self.assert_errors((
            (b'{"execute": "no-such-command"}', 'The command no-such-command has not been found'),
            (b'{"execute": ""}', 'The command  has not been found'),
            (b'{"execute": "Quit"}', 'The command Quit has not been found'),
            (b'{"execute": "query-\\u0000"}', 'The command query-\0 has not been found')),
            error_class='CommandNotFound')

    def test_arguments(self):
        for text, name, arguments in (
                ("Parameter 'x' is unexpected", 'query-version', {'x': 1}),
                ("Parameter 'size' is missing", 'block_resize', {}),
                ("Parameter 'size' is missing", 'block_resize', {'node-name': 'null'}),
                ("Invalid parameter type for 'node-name', expected: string", 'block_resize',
                 {'node-name': 1, 'size': 1}),
                ("Invalid parameter type for 'size', expected: integer", 'block_resize',
                 {'node-name': 'null', 'size': '1'}),
                ("Invalid parameter type for 'size', expected: integer", 'block_resize',
                 {'node-name': 'null', 'size': 1.5}),
                ("Invalid parameter type for 'size', expected: integer", 'block_resize',
                 {'node-name': 'null', 'size': 1 << 63}),
                ("Invalid parameter type for 'size', expected: integer", 'block_resize',
                 {'node-name': 'null', 'size': None}),
                ("Parameter 'device' is missing", 'block-stream', {}),
                ("Parameter 'foo' is unexpected", 'block-stream', {'device': 'd', 'foo': 1}),
                ("Invalid parameter type for 'device', expected: string", 'block-stream',
                 {'device': ['d']}),
                ("Invalid parameter type for 'auto-finalize', expected: boolean", 'block-stream',
                 {'device': 'd', 'auto-finalize': 'yes'}),
                ("Parameter 'on-error' does not accept value 'sometimes'", 'block-stream',
                 {'device': 'd', 'on-error': 'sometimes'}),
                ("Parameter 'device' is missing", 'block-job-set-speed', {'speed': 1}),
                ("Parameter 'speed' is missing", 'block-job-set-speed', {'device': 'd'}),
                ("Parameter 'id' is missing", 'job-pause', {}),
                ("Parameter 'driver' is missing", 'blockdev-add', {'node-name': 'x'}),
                ("Parameter 'driver' does not accept value 'no-such-driver'", 'blockdev-add',
                 {'driver': 'no-such-driver', 'node-name': 'x'}),
                ("Parameter 'filename' is missing", 'blockdev-add',
                 {'driver': 'file', 'node-name': 'x'}),
                ("Parameter 'no-such-option' is unexpected", 'blockdev-add',
                 {'driver': 'file', 'node-name': 'x', 'filename': '/x', 'no-such-option': 1}),
                ("Invalid parameter type for 'file.filename', expected: string", 'blockdev-add',
                 {'driver': 'raw', 'node-name': 'x', 'file': {'driver': 'file', 'filename': 1}}),
                ("Parameter 'file.driver' is missing", 'blockdev-add',
                 {'driver': 'raw', 'node-name': 'x', 'file': {'filename': '/x'}}),
                ("Parameter 'node-name' is missing", 'blockdev-del', {})):
            with self.subTest(name=name, arguments=arguments):
                reply = self.vm.qmp.execute(name, arguments)
                self.assertEqual(reply.get('error', reply).get('desc'), text)
                self.assertEqual(reply['error']['class'], 'GenericError')

    def test_bytes_that_are_no_text(self):
        for data in (b'\xff', b'{"execute": "q\xff"}', b'\x01', b'\xc0\x80', b'"\xed\xa0\x80"',
                     b'\0', b'{"execute": "q\0"}', b'{\0"execute": "query-jobs"}'):
            with self.subTest(data=data):
                told = self.errors(data + b'\n')
                self.assertGreater(len(told), 0)
                for error_class, text in told:
                    self.assertEqual(error_class, 'GenericError')
                    self.assertTrue(text.startswith(PARSE) or text.startswith('QMP input'), text)

    def test_a_byte_that_is_no_text_ends_a_broken_request(self):
        """0xFF is how a client gets back to a known place."""
        for begun in (b'{"execute": "query-', b'[[[[', b'{"a": {"b": [1, "', b'"\\'):
            with self.subTest(begun=begun):
                told = self.errors(begun + b'\xff\n')
                self.assertGreaterEqual(len(told), 1)


class Limits(Wire):
    def setUp(self):
        super().setUp()
        self.vm.launch()

    def nested(self, depth):
        return (b'{"execute": "query-version", "arguments": {"a": '
                + b'[' * depth + b']' * depth + b'}}')

    def test_depth_of_a_thousand_is_read(self):
        self.assertEqual(self.errors(self.nested(1000)),
                         [('GenericError', "Parameter 'a' is unexpected")])

    def test_deeper_is_refused(self):
        told = self.errors(self.nested(1100) + b'\xff\n')
        self.assertEqual(told[0], ('GenericError', 'JSON nesting depth limit exceeded'))

    def test_a_very_deep_one_costs_little(self):
        told = self.errors(b'[' * 100_000 + b'\xff\n')
        self.assertEqual(told[0], ('GenericError', 'JSON nesting depth limit exceeded'))

    def test_an_id_of_64_kibibytes(self):
        self.assert_echoes('x' * (1 << 16))

    @needs_blocks
    def test_an_id_of_a_mebibyte(self):
        self.assert_echoes('x' * (1 << 20))

    def assert_echoes(self, ident):
        told = self.answers(json.dumps({'execute': 'query-block-jobs', 'id': ident}).encode())
        self.assertEqual(told, [{'return': [], 'id': ident}])

    @needs_blocks
    def test_a_token_of_64_mebibytes_is_refused(self):
        self.vm.qmp.send(b'"' + b'x' * (65 << 20) + b'\xff\n')
        self.assertEqual(self.vm.qmp.next_reply()['error']['desc'], 'JSON token size limit exceeded')
        self.assertIn({'return': [], 'id': 'sync'}, self.until_sync())

    @needs_blocks
    def test_two_million_tokens_are_refused(self):
        if int(os.environ.get('CASE_STRIDE', 1)) > 1:
            self.skipTest('20 s, and minutes with sanitizers: the nightly run asks for it')
        self.vm.qmp.send(b'[' + b'1,' * (2 << 20) + b'1]\xff\n')
        self.assertEqual(self.vm.qmp.next_reply()['error']['desc'],
                         'JSON token count limit exceeded')
        self.assertIn({'return': [], 'id': 'sync'}, self.until_sync())

    def until_sync(self):
        self.vm.qmp.send(SYNC)
        told = []
        while not told or told[-1].get('id') != 'sync':
            told.append(self.vm.qmp.next_reply())
        return told

    def test_numbers_out_of_range_are_errors_of_their_argument(self):
        for number in (b'1e999', b'-1e999', b'9' * 400, b'1e-999', b'-9223372036854775809'):
            with self.subTest(number=number[:20]):
                told = self.errors(b'{"execute": "block_resize", "arguments": '
                                   b'{"node-name": "null", "size": ' + number + b'}}')
                self.assertEqual(len(told), 1)
                self.assertEqual(told[0][0], 'GenericError')
