"""What names in image headers may open: --open-gate and --open-root. QEMU opens whatever they name.

What a client names himself is his own affair, with a protocol or outside of the root.
"""

import json
import os
import unittest

from support.case import Case
from support.images import MIB

NO_PROTOCOL = 'a name in an image must be a plain path, not a protocol or json:'


class OpenGate(Case):
    """top <- what its header says; base.img is there to be named."""

    def setUp(self):
        super().setUp()
        self.base = self.images.create('base.img', MIB)
        self.images.io('base.img', 'write -P 7 0 64K')

    def top(self, backing, name='top.img'):
        """An overlay whose header says just this of its backing file."""
        path = self.images.create(name, MIB)
        self.images.run('qemu-img', 'rebase', '-u', '-b', backing, '-F', 'qcow2', path)
        return path

    def launch(self, strict=True, open_root=None):
        self.vm.strict_gate, self.vm.open_root = strict, open_root
        return self.vm.launch()

    def opened(self, path, node, backing=None):
        """The reply to blockdev-add of a qcow2 image; the node goes again if it came to be."""
        options = {'driver': 'qcow2', 'node-name': node,
                   'file': {'driver': 'file', 'filename': path}}
        if backing:
            options['backing'] = backing
        reply = self.vm.qmp.execute('blockdev-add', options)
        if 'return' in reply:
            self.assertTrue(self.shows(node, 7, 0, 65536))
            self.vm.command('blockdev-del', node_name=node)
        return reply

    def assert_opens(self, path, node='n', **options):
        self.assertEqual(self.opened(path, node, **options), {'return': {}})

    def assert_gate_refuses(self, path, name, why):
        reply = self.opened(path, 'n')
        self.assertIn('error', reply, f'{name} was opened')
        self.assertIn(why, reply['error']['desc'])
        self.assertEqual(reply['error']['data']['object'], name.replace('"', '\\"'))  # printable
        self.assertNotEqual(reply['error']['data']['next-step'], '')
        self.assertNotIn('n', self.named_nodes(flat=True))

    def protocols(self):
        """Names that QEMU takes for something else than a path; each leads to base.img."""
        described = {'driver': 'qcow2', 'file': {'driver': 'file', 'filename': self.base}}
        return ('json:' + json.dumps(described), f'blkdebug::{self.base}', f'file:{self.base}')

    # ---- strict, which is the default ------------------------------------------------------------

    def test_strict_opens_no_protocol_and_no_json(self):
        self.launch()
        for name in self.protocols():
            with self.subTest(name=name):
                self.assert_gate_refuses(self.top(name), name, NO_PROTOCOL)

    def test_like_qemu_they_are_opened(self):
        self.launch(strict=False)
        for name in self.protocols():
            with self.subTest(name=name):
                self.assert_opens(self.top(name))

    def test_strict_guesses_no_format(self):
        path = self.without_format()
        self.launch()
        self.assert_gate_refuses(path, self.base, 'the image does not say its format')

    def test_like_qemu_the_format_is_guessed(self):
        path = self.without_format()
        self.launch(strict=False)
        self.assert_opens(path)

    def without_format(self):
        """A header with a name and no format: qemu-img writes none any more, so it is taken out."""
        path = self.top(self.base)
        with open(path, 'r+b') as image:
            data = image.read(4096)
            place = data.index(bytes.fromhex('e2792aca'))  # the extension with the format
            image.seek(place)
            image.write(bytes.fromhex('0deadbee'))  # one that nobody knows
        return path

    def test_strict_opens_plain_paths(self):
        self.launch()
        self.assert_opens(self.top(self.base))
        self.assert_opens(self.top('base.img'))
        self.assert_opens(self.top('../' + self.folder.name + '/base.img'))

    def test_strict_looks_at_every_layer(self):
        name = self.protocols()[0]
        mid = self.top(name, 'mid.img')
        top = self.top(mid)
        self.launch()
        self.assert_gate_refuses(top, name, NO_PROTOCOL)

    def test_strict_looks_at_targets_that_are_there(self):
        name = self.protocols()[0]
        target = self.top(name)
        self.vm.drive(self.base)
        self.launch()
        reply = self.vm.reply('drive-mirror', device='drive0', target=target, mode='existing',
                              format='qcow2', sync='top', job_id='m')
        self.assertIn(NO_PROTOCOL, reply['error']['desc'])
        self.assert_no_job()

    def test_strict_is_for_headers_only(self):
        """A client's own names: in options, of a drive, and for a backing file in place of the
        header's."""
        named = self.protocols()[0]
        second = self.images.create('second.img', backing=self.base)
        self.vm.raw_drive(f'if=none,id=own,file=blkdebug::{second},format=qcow2')
        self.vm.raw_drive(f'if=none,id=json,file={named.replace(",", ",,")},read-only=on')
        self.launch()
        self.assertTrue(self.shows('own', 7, 0, 65536))
        self.assertTrue(self.shows('json', 7, 0, 65536))
        self.vm.command('eject', device='own', force=True)
        self.vm.command('eject', device='json', force=True)
        self.vm.command('blockdev-add', driver='qcow2', node_name='base',
                        file={'driver': 'file', 'filename': self.base})
        self.assert_opens(self.top(named), backing='base')

    # ---- The root --------------------------------------------------------------------------------

    def rooted(self):
        """A folder with an image of its own, and the root of a daemon."""
        root = self.folder / 'root'
        root.mkdir()
        inner = self.images.create('root/inner.img', MIB)
        self.images.io('root/inner.img', 'write -P 7 0 64K')
        return root, inner

    def outside(self):
        """Names of base.img from within the root."""
        return self.base, '../base.img', f'{self.folder}/root/../base.img'

    def test_a_header_opens_nothing_outside_of_the_root(self):
        root, inner = self.rooted()
        for strict in (True, False):
            self.vm = self.machine()
            self.launch(strict, str(root))
            for name in self.outside():
                with self.subTest(strict=strict, name=name):
                    self.assert_gate_refuses(self.top(name, 'root/top.img'), name,
                                             f"only files below '{root}' may be opened")
            for name in (inner, 'inner.img', '../root/inner.img'):
                with self.subTest(strict=strict, name=name):
                    self.assert_opens(self.top(name, 'root/top.img'))
            self.end(self.vm)

    def test_without_a_root_it_does(self):
        self.rooted()
        self.launch()
        for name in self.outside():
            with self.subTest(name=name):
                self.assert_opens(self.top(name, 'root/top.img'))

    def test_a_link_does_not_lead_out_of_the_root(self):
        root, _ = self.rooted()
        os.symlink(self.base, root / 'link.img')
        os.symlink('inner.img', root / 'inner-link.img')
        self.launch(open_root=str(root))
        reply = self.opened(self.top('link.img', 'root/top.img'), 'n')
        self.assertIn(f"it lies outside of '{root}', where a symbolic link leads",
                      reply['error']['desc'])
        self.assert_opens(self.top('inner-link.img', 'root/top.img'))

    def test_the_root_itself_may_be_named_by_a_link(self):
        root, _ = self.rooted()
        os.symlink(root, self.folder / 'link')
        self.launch(open_root=str(self.folder / 'link'))
        self.assert_opens(self.top('inner.img', 'root/top.img'))

    def test_protocols_stay_outside_of_a_root(self):
        """With a root not even QEMU's names are let through: nobody knows where they lead."""
        root, _ = self.rooted()
        self.launch(strict=False, open_root=str(root))
        name = self.protocols()[0]
        self.assert_gate_refuses(self.top(name, 'root/top.img'), name, NO_PROTOCOL)

    def test_a_client_s_own_names_are_not_confined(self):
        root, _ = self.rooted()
        self.launch(open_root=str(root))
        self.assert_opens(self.base)
        self.assert_opens(self.top('root/inner.img'))  # which lies outside, and names one inside


class WrongRoot(Case):
    def test_a_root_that_is_no_folder(self):
        self.vm.open_root = str(self.folder / 'none')
        self.vm.start()
        self.assertEqual(self.vm.wait_exit(), 1)
        self.assertIn(f'--open-root {self.folder}/none: there is no such folder', self.vm.errors())


if __name__ == '__main__':
    unittest.main()
