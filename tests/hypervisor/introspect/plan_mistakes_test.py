"""x-millrace-plan of blockdev-add with two mistakes, each in another node of the tree: the plan tells
the one that the command tells. Only millraced."""

import copy
import itertools
import unittest

from support.case import without_times
from support.images import MIB
from support.plan_case import PlanCase

NULL = {'driver': 'null-co', 'size': MIB}
ANYWHERE = {
    'name taken': {'node-name': 't'},
    'bad name': {'node-name': '1'},
    'unknown option': {'none': 1},
    'bad value': {'read-only': 1},
    'shared by force': {'force-share': True, 'read-only': False},
    'unmapped zeroes': {'detect-zeroes': 'unmap', 'discard': 'ignore'},
    'unknown driver': {'driver': 'none'},
}
IN_A_LEAF = {**ANYWHERE, 'bad number': {'size': -1}}
IN_THE_MIDDLE = {
    **ANYWHERE,
    'no file': {'file': None},
    'no such node': {'file': 'none'},
    'no such group': {'driver': 'throttle', 'throttle-group': 'none'},
    'in the way': {'driver': 'blkdebug', 'file': None, 'image': 'ro', 'read-only': True,
                   'take-child-perms': ['write']},
}


class TwoMistakes(PlanCase):
    def setUp(self):
        super().setUp()
        self.vm.blockdev({**NULL, 'node-name': 't'})
        self.vm.blockdev({**NULL, 'node-name': 'ro', 'read-only': True})
        self.vm.object('throttle-group,id=tg')
        self.vm.launch()

    @staticmethod
    def with_mistakes(tree, mistakes):
        tree = copy.deepcopy(tree)
        for (path, changes) in mistakes:
            node = tree
            for step in path:
                node = node[step]
            node.update(changes)
            for key in [key for key, value in node.items() if value is None]:
                del node[key]
        return tree

    def compare(self, tree, positions):
        """For each pair of mistakes at two of the positions, {path: {name: members}}."""
        refusals = 0
        made = [(path, name) for path, mistakes in positions.items() for name in mistakes]
        for one, other in itertools.combinations(made, 2):
            # What is changed above may take away what is below: the lower one comes first.
            pair = sorted((one, other), key=lambda each: -len(each[0]))
            if one[0] == other[0]:
                continue
            options = self.with_mistakes(
                tree, [(path, positions[path][name]) for path, name in pair])
            with self.subTest(one=one, other=other):
                plan = self.vm.command('x-millrace-plan', command='blockdev-add',
                                       arguments=options)
                reply = self.vm.qmp.execute('blockdev-add', options)
                if 'return' in reply:
                    self.vm.command('blockdev-del', node_name='n')
                    self.assertTrue(plan['accepted'], plan)
                    continue
                refusals += 1
                self.assertFalse(plan['accepted'], reply)
                self.assertEqual(without_times(plan['error']), without_times(reply['error']))
        return refusals

    def test_of_children_side_by_side(self):
        raw = {'driver': 'raw', 'file': NULL}
        tree = {'driver': 'quorum', 'node-name': 'n', 'vote-threshold': 1, 'children': [raw, raw]}
        first, second = ('children', 0), ('children', 1)
        self.assertGreater(self.compare(tree, {
            (): {**ANYWHERE, 'no votes': {'vote-threshold': 0}, 'few': {'vote-threshold': 3}},
            first: IN_THE_MIDDLE, (*first, 'file'): IN_A_LEAF,
            second: IN_THE_MIDDLE, (*second, 'file'): IN_A_LEAF}), 500)

    def test_of_an_image_and_what_it_stands_on(self):
        tree = {'driver': 'qcow2', 'node-name': 'n', 'file': {
            'driver': 'file', 'filename': self.images.create('top.img', MIB)},
            'backing': {'driver': 'raw', 'read-only': True, 'file': NULL}}
        self.assertGreater(self.compare(tree, {
            (): {**ANYWHERE, 'no such backing': {'backing': 'none'}},
            ('file',): {**ANYWHERE, 'no name': {'filename': None}, 'empty': {'filename': ''},
                        'bad locking': {'locking': 'none'}},
            ('backing',): IN_THE_MIDDLE, ('backing', 'file'): IN_A_LEAF}), 200)

    def test_a_descriptor_that_is_not_there(self):
        self.refused('Could not dup FD for /dev/fdset/7', 'blockdev-add', driver='file',
                     node_name='n', filename='/dev/fdset/7')
        self.refused('Could not dup FD for /dev/fdset/7', 'blockdev-add', driver='raw',
                     node_name='t', file={'driver': 'file', 'filename': '/dev/fdset/7'})


if __name__ == '__main__':
    unittest.main()
