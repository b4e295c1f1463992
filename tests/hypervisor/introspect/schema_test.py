"""query-qmp-schema of millraced: it is whole, and what it says of drivers is what they take."""

import unittest

from support.case import Case


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


if __name__ == '__main__':
    unittest.main()
