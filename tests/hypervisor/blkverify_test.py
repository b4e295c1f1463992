"""blkverify: two images that should hold the same, of which one shows the other to be wrong."""

from support.case import Case, QmpClosed
from support.images import KIB, MIB


class Verify(Case):
    def setUp(self):
        super().setUp()
        self.raw = self.images.create('raw.img', MIB, 'raw')
        self.test = self.images.create('test.img', MIB)
        for name, image_format in (('raw.img', 'raw'), ('test.img', 'qcow2')):
            self.images.io(name, 'write -P 1 0 64k', image_format=image_format)

    def start(self):
        self.vm.launch()
        self.vm.command(
            'blockdev-add', driver='blkverify', node_name='v',
            raw={'driver': 'file', 'node-name': 'raw', 'filename': self.raw},
            test={'driver': 'qcow2', 'node-name': 'test',
                  'file': {'driver': 'file', 'filename': self.test}})

    def test_both_are_written_and_read(self):
        self.start()
        self.assertTrue(self.shows('v', 1, 0, 64 * KIB))
        self.vm.io('v', 'write -P 2 4k 4k')
        self.assertTrue(self.shows('v', 2, 4 * KIB, 4 * KIB))
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.same_content('raw.img', 'test.img', formats=('raw', 'qcow2')))

    def test_it_keeps_its_children_and_they_go_with_it(self):
        self.start()
        node = self.named_nodes(flat=True)['v']
        self.assertEqual((node['drv'], node['image']['virtual-size']), ('blkverify', MIB))
        self.assertEqual(node['file'], f'blkverify:{self.raw}:{self.test}')
        for child in ('raw', 'test'):
            self.assertEqual(self.child_of('v', child), child)
            self.assert_refused(f'Node {child} is not owned by the monitor', 'blockdev-del',
                                node_name=child)
        self.vm.command('blockdev-del', node_name='v')
        self.assertEqual(self.named_nodes(), {})

    def test_images_that_differ_end_the_program(self):
        self.images.io('raw.img', 'write -P 3 8k 512', image_format='raw')
        self.start()
        self.assertTrue(self.shows('v', 1, 0, 8 * KIB))
        with self.assertRaises(QmpClosed):
            self.vm.io('v', 'read 4k 8k')
        self.assertEqual(self.vm.wait_exit(), 1)
        self.assertIn('blkverify: read offset=4096 bytes=8192 contents mismatch at offset 8192\n',
                      self.vm.errors())

    def test_an_option_that_it_has_not(self):
        self.vm.launch()
        self.assert_refused("Parameter 'align' is unexpected", 'blockdev-add', driver='blkverify',
                            node_name='v', raw='none', test='none', align=512)
        self.assert_refused("Cannot find device='none' nor node-name='none'", 'blockdev-add',
                            driver='blkverify', node_name='v', raw='none', test='none')
        self.assert_refused("Parameter 'test' is missing", 'blockdev-add', driver='blkverify',
                            node_name='v', raw='none')
