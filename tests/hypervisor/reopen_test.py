"""blockdev-reopen: options of live nodes, their files and backing images, several in one step."""

from support.case import Case
from support.images import MIB


class Reopen(Case):
    def setUp(self):
        super().setUp()
        self.paths = [self.images.create(f'{name}.img', MIB) for name in 'ab']
        self.vm.launch()
        self.options = {'driver': 'qcow2', 'node-name': 'hd0', 'file': {
            'driver': 'file', 'node-name': 'hd0-file', 'filename': self.paths[0]}}
        self.vm.qmp.execute('blockdev-add', self.options)

    def reopen(self, refusal=None, without=None, **changes):
        """Reopens hd0 with its options changed; a name with dots leads into a nested object."""
        options = {**self.options, 'file': dict(self.options['file'])}
        for name, value in changes.items():
            *way, last = name.replace('__', '.').replace('_', '-').split('.')
            target = options
            for step in way:
                target = target[step]
            target[last] = value
        if without:
            *way, last = without.split('.')
            (options[way[0]] if way else options).pop(last)
        reply = self.vm.qmp.execute('blockdev-reopen', {'options': [options]})
        told = reply.get('error', {}).get('desc')
        self.assertEqual(told, refusal, (changes, without))

    def node(self, name='hd0'):
        return self.named_nodes(flat=True)[name]


class Options(Reopen):
    def test_what_cannot_be_meant(self):
        for refusal, changes in (
                ("Failed to find node with node-name='none'", {'node_name': 'none'}),
                ("Failed to find node with node-name=''", {'node_name': ''}),
                ("Invalid parameter type for 'options[0].node-name', expected: string",
                 {'node_name': None}),
                ("Cannot change the option 'driver'", {'driver': 'raw'}),
                ("Parameter 'driver' does not accept value ''", {'driver': ''}),
                ("Invalid parameter type for 'options[0].driver', expected: string",
                 {'driver': None}),
                ("Cannot find device='' nor node-name='none'", {'file': 'none'}),
                ("Cannot find device='' nor node-name=''", {'file': ''}),
                ("Invalid parameter type for 'file', expected: BlockdevRef", {'file': None}),
                ("Cannot change the option 'node-name'", {'file__node_name': 'other'}),
                ("Cannot change the option 'filename'", {'file__filename': self.paths[1]}),
                ("Cannot change the option 'locking'", {'file__locking': 'off'}),
                ("Invalid parameter type for 'options[0].file.filename', expected: string",
                 {'file__filename': None}),
                ("Cannot find device='' nor node-name='none'", {'backing': 'none'}),
                ("Cannot find device='' nor node-name=''", {'backing': ''}),
                ("Cannot change the option 'backing.driver'", {'backing': {'driver': 'null-co'}}),
                ("Cannot change the option 'force-share'",
                 {'force_share': True, 'read_only': True}),
                ("Parameter 'options[0].foo' is unexpected", {'foo': 1}),
                ("Parameter 'options[0].file.foo' is unexpected", {'file__foo': 1}),
                ('setting detect-zeroes to unmap is not allowed without setting discard operation '
                 'to unmap', {'detect_zeroes': 'unmap'})):
            with self.subTest(changes):
                self.reopen(refusal, **changes)
        for refusal, without in (('node-name not specified', 'node-name'),
                                 ("Parameter 'options[0].driver' is missing", 'driver'),
                                 ("Parameter 'options[0].file' is missing", 'file'),
                                 ("Parameter 'options[0].file.driver' is missing", 'file.driver')):
            with self.subTest(without):
                self.reopen(refusal, without=without)

    def test_what_can_change(self):
        self.reopen()
        self.reopen(cache={'direct': False, 'no-flush': True})
        self.assertTrue(self.node()['cache']['no-flush'])
        self.reopen(discard='unmap', detect_zeroes='unmap')
        self.assertEqual(self.node()['detect_zeroes'], 'unmap')
        self.reopen(lazy_refcounts=True, l2_cache_size=65536, cache_clean_interval=5,
                    overlap_check='all')
        self.reopen()
        self.assertEqual(self.node()['detect_zeroes'], 'off')
        self.assertFalse(self.node()['cache']['no-flush'])

    def test_read_only_and_back(self):
        self.vm.io('hd0', 'write -P 1 0 64K')
        self.reopen(read_only=True)
        self.assertTrue(self.node()['ro'])
        self.assertTrue(self.node('hd0-file')['ro'])
        self.assertIn('read-only', self.vm.io('hd0', 'write -P 2 0 64K'))
        self.reopen()
        self.assertFalse(self.node('hd0-file')['ro'])
        self.vm.io('hd0', 'write -P 3 64K 64K')
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('a.img', 1, 0, 65536))
        self.assertTrue(self.images.holds('a.img', 3, 65536, 65536))

    def test_not_read_only_under_a_writer(self):
        self.vm.command('device_add', driver='virtio-blk-pci', id='dev', drive='hd0')
        self.reopen("Read-only block node 'hd0' cannot support read-write users", read_only=True)
        self.reopen()

    def test_all_or_nothing(self):
        """The second of two nodes is refused: the first stays as it was."""
        self.vm.command('blockdev-add', driver='null-co', node_name='null', size=MIB)
        reply = self.vm.qmp.execute('blockdev-reopen', {'options': [
            {**self.options, 'detect-zeroes': 'on'},
            {'driver': 'null-co', 'node-name': 'null', 'size': 2 * MIB}]})
        self.assertEqual(reply['error']['desc'], "Cannot change the option 'size'")
        self.assertEqual(self.node()['detect_zeroes'], 'off')


class Children(Reopen):
    def setUp(self):
        super().setUp()
        self.vm.command('blockdev-add', driver='qcow2', node_name='hd1',
                        file={'driver': 'file', 'filename': self.paths[1]})
        self.vm.io('hd1', 'write -P 5 0 64K')

    def test_a_backing_image_comes_and_goes(self):
        self.assertTrue(self.shows('hd0', 0, 0, 65536))
        self.reopen(backing='hd1')
        self.assertTrue(self.shows('hd0', 5, 0, 65536))
        self.assertEqual(self.child_of('hd0', 'backing'), 'hd1')
        self.reopen(backing=None)
        self.assertTrue(self.shows('hd0', 0, 0, 65536))
        self.reopen("Making 'hd0' a backing child of 'hd0' would create a cycle", backing='hd0')

    def test_a_missing_word_about_the_backing(self):
        over = self.images.create('over.img', backing=self.paths[1])
        self.vm.command('blockdev-add', driver='file', node_name='over-file', filename=over)
        self.vm.command('blockdev-add', driver='qcow2', node_name='over', file='over-file',
                        backing='hd1')
        options = {'driver': 'qcow2', 'node-name': 'over', 'file': 'over-file'}
        reply = self.vm.qmp.execute('blockdev-reopen', {'options': [options]})
        self.assertEqual(reply['error']['desc'], "backing is missing for 'over'")
        reply = self.vm.qmp.execute('blockdev-reopen', {'options': [{**options, 'backing': 'hd1'}]})
        self.assertEqual(reply, {'return': {}})

    def test_a_filter_between_a_format_and_its_file(self):
        self.vm.command('object-add', qom_type='throttle-group', id='g')
        self.vm.command('blockdev-add', driver='throttle', node_name='thr', throttle_group='g',
                        file='hd0-file')
        self.reopen(file='thr')
        self.assertEqual(self.child_of('hd0', 'file'), 'thr')
        self.vm.io('hd0', 'write -P 4 0 64K')
        self.reopen(file='hd0-file')
        self.assertEqual(self.child_of('hd0', 'file'), 'hd0-file')
        self.vm.command('blockdev-del', node_name='thr')
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('a.img', 4, 0, 65536))

    def test_another_throttle_group(self):
        for group in ('g0', 'g1'):
            self.vm.command('object-add', qom_type='throttle-group', id=group)
        options = {'driver': 'throttle', 'node-name': 't', 'throttle-group': 'g0', 'file': 'hd1'}
        self.vm.qmp.execute('blockdev-add', options)
        reply = self.vm.qmp.execute('blockdev-reopen',
                                    {'options': [{**options, 'throttle-group': 'none'}]})
        self.assertEqual(reply['error']['desc'], "Throttle group 'none' does not exist")
        self.assertEqual(self.vm.qmp.execute(
            'blockdev-reopen', {'options': [{**options, 'throttle-group': 'g1'}]}), {'return': {}})
        self.vm.command('object-del', id='g0')
        self.assert_refused("object 'g1' is in use, can not be deleted", 'object-del', id='g1')

    def test_a_chain_that_a_job_holds(self):
        over = self.images.create('over.img', backing=self.paths[1])
        self.vm.command('blockdev-add', driver='qcow2', node_name='over', backing='hd1',
                        file={'driver': 'file', 'node-name': 'over-file', 'filename': over})
        self.vm.command('block-stream', device='over', job_id='job', speed=1, bottom='over')
        reply = self.vm.qmp.execute('blockdev-reopen', {'options': [
            {'driver': 'qcow2', 'node-name': 'over', 'file': 'over-file', 'backing': None}]})
        self.assertEqual(reply, {'return': {}})  # base is not the stream's
        self.vm.qmp.execute('block-job-set-speed', {'device': 'job', 'speed': 0})
        self.wait_ended('job', offset=None)
