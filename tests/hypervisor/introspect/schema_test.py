"""query-qmp-schema of millraced: it is whole, and what it says of drivers is what they take."""

import unittest

from support.case import Case
from support.images import MIB


class Schema(Case):
    def setUp(self):
        super().setUp()
        self.vm.launch()
        self.types = {}
        for entry in self.vm.command('query-qmp-schema'):
            self.assertNotIn(entry['name'], self.types, 'described twice')
            self.types[entry['name']] = entry

    def test_every_type_that_is_named_is_described(self):
        for entry in self.types.values():
            named = [entry[key] for key in ('arg-type', 'ret-type', 'element-type') if key in entry]
            if entry['meta-type'] != 'enum':
                named += [member['type'] for member in entry.get('members', [])]
            named += [variant['type'] for variant in entry.get('variants', [])]
            for name in named:
                self.assertIn(name, self.types, entry['name'])

    def test_every_command_is_there(self):
        commands = {name for name, entry in self.types.items() if entry['meta-type'] == 'command'}
        self.assertEqual(commands,
                         {command['name'] for command in self.vm.command('query-commands')})

    def variants(self):
        options = self.types[self.types['blockdev-add']['arg-type']]
        return options, {one['case']: self.types[one['type']] for one in options['variants']}

    def test_the_drivers_are_those_that_there_are(self):
        options, variants = self.variants()
        tag = next(member for member in options['members'] if member['name'] == options['tag'])
        self.assertEqual(set(self.types[tag['type']]['values']), set(variants))
        reply = self.vm.reply('blockdev-add', driver='no-such', node_name='n')
        self.assertEqual(reply['error']['desc'], "Parameter 'driver' does not accept value "
                         "'no-such'")
        for driver in variants:
            reply = self.vm.reply('blockdev-add', driver=driver, node_name='n', no_such=1)
            self.assertNotIn('does not accept', reply['error']['desc'])

    def test_what_is_said_to_be_needed_is(self):
        for driver, variant in self.variants()[1].items():
            needed = {one['name'] for one in variant['members'] if 'default' not in one}
            with self.subTest(driver=driver, needed=needed):
                reply = self.vm.reply('blockdev-add', driver=driver, node_name=f'n-{driver}')
                if not needed:
                    self.assertIn('return', reply)
                    continue
                told = reply['error']['desc']
                self.assertIn(told, {f"Parameter '{name}' is missing" for name in needed})

    def test_members_of_a_type_are_taken_as_such(self):
        """A value of another type is refused by the name of the type that the schema tells."""
        words = {'str': 'string', 'int': 'integer', 'bool': 'boolean'}
        good = {'str': 'x', 'int': 1, 'BlockdevRef': 'x', '[BlockdevRef]': []}
        for driver, variant in self.variants()[1].items():
            needed = {one['name']: good[one['type']] for one in variant['members']
                      if 'default' not in one}
            for member in variant['members']:
                if member['type'] not in words:
                    continue
                with self.subTest(driver=driver, member=member['name']):
                    reply = self.vm.qmp.execute('blockdev-add', {
                        'driver': driver, 'node-name': 'n', **needed, member['name']: []})
                    self.assertEqual(
                        reply['error']['desc'],
                        f"Invalid parameter type for '{member['name']}', expected: "
                        f"{words[member['type']]}")

    # ---- Events, objects, devices ----------------------------------------------------------------

    def check_event(self, event):
        described = self.types[event['event']]
        self.assertEqual(described['meta-type'], 'event')
        members = {one['name']: one for one in self.types[described['arg-type']]['members']}
        data = event.get('data', {})
        self.assertLessEqual(set(data), set(members), event)
        self.assertLessEqual({name for name, one in members.items() if 'default' not in one},
                             set(data), event)
        kinds = {'str': str, 'int': int, 'bool': bool}
        for name, value in data.items():
            self.assertIs(type(value), kinds[members[name]['type']], event)

    def test_events_are_as_described(self):
        base = self.images.create('base.img', MIB)
        self.images.io('base.img', 'write -P 1 0 1M')
        top = self.images.create('top.img', backing=base)
        vm = self.vm = self.machine()
        vm.raw_drive('if=none,id=cd,media=cdrom')
        vm.device('ide-cd,id=tray,drive=cd')
        vm.drive(top, 'node-name=top', ident='drive0').launch()
        vm.command('stop')
        vm.command('cont')
        vm.command('system_reset')
        vm.command('blockdev-open-tray', id='tray')
        vm.command('block-set-write-threshold', node_name='top', write_threshold=1)
        vm.io('drive0', 'write 0 64k')
        vm.command('block-stream', device='drive0', job_id='s', auto_finalize=False)
        vm.qmp.wait_event('BLOCK_JOB_PENDING', id='s')
        vm.command('job-finalize', id='s')
        vm.qmp.wait_event('BLOCK_JOB_COMPLETED')
        vm.command('blockdev-add', driver='null-co', node_name='t', size=MIB)
        vm.command('blockdev-mirror', device='drive0', target='t', job_id='m', sync='none')
        vm.qmp.wait_event('BLOCK_JOB_READY')
        vm.command('block-job-cancel', device='m', force=True)
        vm.qmp.wait_event('BLOCK_JOB_CANCELLED')
        vm.command('device_add', driver='virtio-blk-pci', id='d', drive='t')
        vm.command('device_del', id='d')
        vm.qmp.wait_event('DEVICE_DELETED')
        self.assertEqual(vm.quit(), 0)
        told = [message for message in vm.qmp.messages() if 'event' in message]
        for event in told:
            self.check_event(event)
        self.assertGreaterEqual(
            {event['event'] for event in told},
            {'STOP', 'RESUME', 'RESET', 'DEVICE_TRAY_MOVED', 'BLOCK_JOB_PENDING', 'SHUTDOWN',
             'BLOCK_JOB_COMPLETED', 'BLOCK_JOB_READY', 'BLOCK_JOB_CANCELLED', 'JOB_STATUS_CHANGE',
             'DEVICE_DELETED', 'BLOCK_WRITE_THRESHOLD'})

    def test_the_object_types_are_those_that_there_are(self):
        options = self.types[self.types['object-add']['arg-type']]
        tag = next(member for member in options['members'] if member['name'] == options['tag'])
        cases = [variant['case'] for variant in options['variants']]
        self.assertEqual(self.types[tag['type']]['values'], cases)
        told = self.vm.hmp('object_add help').split('\r\n')
        self.assertEqual(sorted(cases), [line.strip() for line in told[1:] if line])

    def test_objects_take_what_is_said_and_no_more(self):
        options = self.types[self.types['object-add']['arg-type']]
        good = {'int': 0, 'bool': True, 'str': 'x', 'ObjectEndpoint': 'server',
                'ThrottleLimits': {}, 'QCryptoSecretFormat': 'raw'}
        for variant in options['variants']:
            for member in self.types[variant['type']]['members']:
                with self.subTest(type=variant['case'], member=member['name']):
                    reply = self.vm.qmp.execute('object-add', {
                        'qom-type': variant['case'], 'id': 'o',
                        member['name']: good[member['type']]})
                    told = reply.get('error', {}).get('desc', '')
                    self.assertNotIn('unexpected', told)
                    self.assertNotIn('Invalid parameter type', told)
                    self.vm.reply('object-del', id='o')
            told = self.vm.qmp.execute('object-add', {
                'qom-type': variant['case'], 'id': 'o', 'identity': 'x', 'no-such': 1})
            self.assertIn('error', told)
        reply = self.vm.reply('object-add', qom_type='no-such', id='o')
        self.assertEqual(reply['error']['desc'],
                         "Parameter 'qom-type' does not accept value 'no-such'")


if __name__ == '__main__':
    unittest.main()
