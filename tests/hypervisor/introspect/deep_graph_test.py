"""Graphs that are deeper than anybody needs: what describes them by nesting breaks off somewhere, and
nothing runs out of stack."""

import os
import unittest

from support.case import Case
from support.images import MIB

LEVELS = 10  # in one command
# A daemon with sanitizers takes ten times as long, and its stack frames are larger.
DEEP = 3000 if int(os.environ.get('CASE_STRIDE', 1)) == 1 else 400


class DeepGraph(Case):
    def stack(self, count):
        """raw on raw on … null-co; the node's name on top."""
        self.vm.command('blockdev-add', driver='null-co', node_name='n', size=MIB)
        name = 'n'
        for step in range(count // LEVELS):
            tree = name
            name = f'raw{step}'
            for level in range(LEVELS):
                tree = {'driver': 'raw', 'file': tree}
            self.vm.command('blockdev-add', node_name=name, **tree)
        return name

    def depth(self, shown):
        count = 0
        while 'parent' in shown:
            shown, count = shown['parent'], count + 1
        return count

    def test_statistics_of_formats_on_formats(self):
        self.vm.launch()
        top = self.stack(150)
        self.vm.qmp.command('device_add', driver='virtio-blk-pci', drive=top)
        self.assertEqual(self.depth(self.vm.command('query-blockstats')[0]), 150)
        self.assertEqual(self.depth(next(
            one for one in self.vm.command('query-blockstats', query_nodes=True)
            if one['node-name'] == top)), 150)

    def test_statistics_of_more_formats_than_anybody_reads(self):
        self.vm.launch()
        top = self.stack(DEEP)
        self.vm.qmp.command('device_add', driver='virtio-blk-pci', drive=top)
        self.assertEqual(self.depth(self.vm.command('query-blockstats')[0]), 201)


if __name__ == '__main__':
    unittest.main()
