"""Chains whose images differ in size (as QEMU's 274 asks for): what is beyond the end reads zero."""

from support.case import Case
from support.images import MIB


class Sizes(Case):
    def chain(self, *sizes):
        """Images a0.img … of these sizes, each full of its own pattern, as nodes n0 … and drive0."""
        paths = []
        for i, size in enumerate(sizes):
            paths.append(self.images.create(f'a{i}.img', size, backing=paths[-1] if paths else None))
        self.images.io('a0.img', f'write -P 1 0 {sizes[0]}')
        prefix, options = '', []
        for i in reversed(range(len(sizes))):
            options.append(f'{prefix}node-name=n{i}')
            prefix += 'backing.'
        self.vm.drive(paths[-1], ','.join(options)).launch()
        return paths

    def test_a_short_middle_hides_what_is_below_it(self):
        self.chain(2 * MIB, MIB, 2 * MIB)
        self.vm.command('block-stream', device='drive0', base_node='n0')
        self.wait_ended()
        self.assertTrue(self.shows('drive0', 1, 0, MIB))
        self.assertTrue(self.shows('drive0', 0, MIB, MIB))
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('a2.img', 1, 0, MIB))
        self.assertTrue(self.images.holds('a2.img', 0, MIB, MIB))

    def test_a_stream_of_all(self):
        self.chain(2 * MIB, MIB, 2 * MIB)
        self.vm.command('block-stream', device='drive0')
        self.wait_ended()
        self.assertEqual(self.vm.quit(), 0)
        self.assertIsNone(self.images.backing_name('a2.img'))
        self.assertTrue(self.images.holds('a2.img', 1, 0, MIB))
        self.assertTrue(self.images.holds('a2.img', 0, MIB, MIB))

    def test_a_commit_of_a_short_middle(self):
        self.chain(2 * MIB, MIB, 2 * MIB)
        self.assertTrue(self.shows('drive0', 0, MIB, MIB))
        self.vm.command('block-commit', device='drive0', top_node='n1', base_node='n0')
        self.wait_ended()
        self.assertEqual(self.vm.quit(), 0)
        self.assertEqual(self.images.info('a0.img')['virtual-size'], 2 * MIB)
        self.assertTrue(self.images.holds('a0.img', 1, 0, MIB))

    def test_an_active_commit_of_a_longer_top(self):
        self.chain(MIB, 2 * MIB)
        self.vm.io('drive0', 'write -P 5 1536K 64K')
        self.vm.command('block-commit', device='drive0')
        self.complete()
        self.assertTrue(self.shows('drive0', 5, 1536 * 1024, 65536))
        self.assertEqual(self.vm.quit(), 0)
        self.assertEqual(self.images.info('a0.img')['virtual-size'], 2 * MIB)
        self.assertTrue(self.images.holds('a0.img', 5, 1536 * 1024, 65536))
        self.assertTrue(self.images.holds('a0.img', 0, MIB, 512 * 1024))

    def test_growing_an_overlay_above_a_longer_backing_file_shows_zeroes(self):
        self.chain(4 * MIB, MIB)
        self.vm.command('block_resize', device='drive0', size=2 * MIB)
        self.assertTrue(self.shows('drive0', 1, 0, MIB))
        self.assertTrue(self.shows('drive0', 0, MIB, MIB))
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('a1.img', 0, MIB, MIB))

    def test_a_stream_over_a_longer_base(self):
        self.chain(4 * MIB, MIB)
        self.vm.command('block-stream', device='drive0')
        self.wait_ended()
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('a1.img', 1, 0, MIB))
        self.assertEqual(self.images.info('a1.img')['virtual-size'], MIB)

    def test_sizes_that_are_no_multiple_of_a_cluster(self):
        self.chain(MIB + 512, MIB + 1024, MIB + 66048)
        self.vm.command('block-stream', device='drive0', base_node='n0')
        self.wait_ended()
        self.vm.command('block-stream', device='drive0')
        self.wait_ended()
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('a2.img', 1, 0, MIB + 512))
        self.assertTrue(self.images.holds('a2.img', 0, MIB + 512, 65536))
