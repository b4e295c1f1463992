"""What QEMU's shell tests compare as text: the order of members, of lines, and what is on stdout."""

import json
import re
import subprocess

from support.case import Case
from support.images import MIB
from support.machine import TIMEOUT


class RawText(Case):
    """The monitor is on stdin and stdout, and all requests come in one piece."""

    def talk(self, *requests):
        """The lines that come back, without the greeting and the answer to the negotiation."""
        self.vm.chardev('stdio,id=std').monitor('chardev=std,mode=control')
        process = self.vm.start(stdin=subprocess.PIPE, stdout=subprocess.PIPE).process
        commands = [('qmp_capabilities',), *requests, ('quit',)]
        text = ''.join(json.dumps(
            {'execute': name, **({'arguments': rest[0]} if rest and rest[0] else {}),
             **({'id': rest[1]} if len(rest) > 1 else {})}) + '\n' for name, *rest in commands)
        output, _ = process.communicate(text.encode(), TIMEOUT)
        self.assertEqual(process.returncode, 0, self.vm.errors())
        lines = output.decode().replace(str(self.folder), 'DIR').splitlines()
        lines = [re.sub(r'{"seconds": \d+, "microseconds": \d+}', 'TIME', line) for line in lines]
        self.assertTrue(lines[0].startswith('{"QMP": {"version": {"qemu": {"micro": '), lines[0])
        self.assertEqual(lines[1], '{"return": {}}')
        return lines[2:]

    def chain(self):
        self.images.create('base.img', MIB)
        self.images.create('mid.img', backing=self.images.path('base.img'))
        return self.images.create('top.img', backing=self.images.path('mid.img'))

    def test_members_come_in_the_order_of_qemus_dictionary(self):
        self.vm.raw_drive(f'if=none,id=d0,file={self.chain()},format=qcow2')
        lines = self.talk(
            ('query-block', {}, {'z': 1, 'file': 2, 'backing': 3, 'aaa': 4, 'aab': 5}),
            ('nope', {}, 'x'), ('query-status',))
        order = [re.findall(r'"([\w-]+)": ', line) for line in lines]
        image = ['virtual-size', 'filename', 'cluster-size', 'format', 'actual-size',
                 'format-specific', 'type', 'data', 'compat', 'compression-type', 'lazy-refcounts',
                 'refcount-bits', 'corrupt', 'extended-l2']
        overlay = ['backing-filename-format', *image, 'full-backing-filename', 'backing-filename',
                   'dirty-flag']
        self.assertEqual(order[0], [
            'return', 'device', 'locked', 'removable', 'inserted', 'iops_rd', 'detect_zeroes',
            'image', 'backing-image', 'backing-image', *image, 'dirty-flag', *overlay, *overlay,
            'iops_wr', 'ro', 'node-name', 'backing_file_depth', 'drv', 'iops', 'bps_wr',
            'write_threshold', 'backing_file', 'encrypted', 'bps', 'bps_rd', 'cache', 'no-flush',
            'direct', 'writeback', 'file', 'type', 'id', 'aab', 'aaa', 'backing', 'z', 'file'])
        self.assertEqual(lines[1], '{"id": "x", "error": {"class": "CommandNotFound", '
                         '"desc": "The command nope has not been found"}}')
        self.assertEqual(order[2], ['return', 'status', 'singlestep', 'running'])

    def test_what_came_before_stands_before_what_qemu_io_prints(self):
        self.vm.raw_drive(f'if=none,id=d0,file={self.images.create("a.img", MIB)},format=qcow2')
        lines = self.talk(('query-jobs', {}, 1),
                          ('human-monitor-command', {'command-line': 'qemu-io d0 "length"'}))
        self.assertEqual(lines[:3], ['{"return": [], "id": 1}', '1 MiB', '{"return": ""}'])

    def test_an_image_that_is_made_by_the_way_is_told_first(self):
        self.vm.raw_drive(f'if=none,id=d0,file={self.images.create("a.img", MIB)},format=qcow2')
        self.vm.raw_drive(f'if=none,id=d1,file={self.images.create("r.raw", MIB, "raw")},'
                          'format=raw')
        told = ('fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576')
        rest = 'lazy_refcounts=off refcount_bits=16'
        snapshot = lambda name, **more: ('blockdev-snapshot-sync', {  # noqa: E731
            'device': 'd0', 'snapshot-file': f'{self.folder}/{name}', **more})
        mirror = ('drive-mirror', {'device': 'd1', 'job-id': 'm', 'sync': 'full', 'format': 'raw',
                                   'target': f'{self.folder}/t.raw'})
        lines = self.talk(snapshot('b,c.img'), snapshot('none/d.img'), snapshot('e', format='raw'),
                          snapshot('e', format='file'), snapshot('e', format='null-co'),
                          snapshot('e', format='nope'), mirror)
        error = '{"error": {"class": "GenericError", "desc": "%s"}}'
        self.assertEqual(lines[:9], [
            f"Formatting 'DIR/b,c.img', {told} backing_file=DIR/a.img backing_fmt=qcow2 {rest}",
            '{"return": {}}',
            f"Formatting 'DIR/none/d.img', {told} backing_file=DIR/b,,c.img backing_fmt=qcow2 "
            f'{rest}',
            error % "Could not create 'DIR/none/d.img': No such file or directory",
            error % "Backing file not supported for file format 'raw'",
            error % "Backing file not supported for file format 'file'",
            error % "Format driver 'null-co' does not support image creation",
            error % "Unknown file format 'nope'",
            "Formatting 'DIR/t.raw', fmt=raw size=1048576"])
        self.assertIn('{"timestamp": TIME, "event": "JOB_STATUS_CHANGE", '
                      '"data": {"status": "created", "id": "m"}}', lines)

    def test_a_job_that_is_refused_late_is_created_and_gone(self):
        self.chain()
        self.images.create('t.img', MIB)
        below = None
        for name in ('base', 'mid', 'top', 't'):
            self.vm.blockdev({'driver': 'qcow2', 'node-name': name, 'read-only': name != 'top',
                              'backing': None if name == 't' else below,
                              'file': {'driver': 'file', 'filename': self.images.path(f'{name}.img')}})
            below = name
        start = lambda ident, name, **more: (name, {  # noqa: E731
            'job-id': ident, 'device': 'top', **{key.replace('_', '-'): value
                                                 for key, value in more.items()}})
        lines = self.talk(
            start('c1', 'block-commit', top_node='mid', filter_node_name='1234'),
            start('c2', 'block-commit', top_node='mid', filter_node_name='t'),
            start('c3', 'block-commit', filter_node_name='1234'),
            start('s1', 'block-stream', filter_node_name='1234'),
            start('m1', 'blockdev-mirror', target='t', sync='full'),
            start('m2', 'blockdev-mirror', target='t', sync='full', filter_node_name='1234'))
        pair = lambda ident: [  # noqa: E731
            '{"timestamp": TIME, "event": "JOB_STATUS_CHANGE", '
            '"data": {"status": "%s", "id": "%s"}}' % (state, ident)
            for state in ('created', 'null')]
        error = '{"error": {"class": "GenericError", "desc": "%s"'
        # What Millrace says beside a refusal is its own.
        self.assertEqual([re.sub(r'("desc": "[^"]*"), "data": .*', r'\1}}', line)
                          for line in lines[:12]], [
            *pair('c1'), error % "Invalid node-name: '1234'" + '}}',
            *pair('c2'), error % "Duplicate nodes with node-name='t'" + '}}',
            error % "Invalid node-name: '1234'" + '}}',
            error % "Could not create node: Invalid node-name: '1234'" + '}}',
            *pair('m1'), error % 'Block node is read-only' + '}}',
            error % "Invalid node-name: '1234'" + '}}'])

    def test_the_graph_is_told_from_its_newest_node_and_counted_as_it_is_mentioned(self):
        self.chain()
        below = None
        for name in ('base', 'mid', 'top'):
            self.vm.blockdev({'driver': 'qcow2', 'node-name': name, 'backing': below,
                              'read-only': name != 'top',
                              'file': {'driver': 'file', 'node-name': f'{name}-file',
                                       'filename': self.images.path(f'{name}.img')}})
            below = name
        self.vm.raw_drive('if=none,id=empty').raw_drive('if=none,id=d0,driver=null-co,node-name=n')
        graph = json.loads(self.talk(('x-debug-query-block-graph',))[0])['return']
        told = [f'{node["id"]} {node["name"]}' for node in graph['nodes']]
        self.assertEqual((told[0], told[-2:]), ('3 n', ['2 d0', '1 empty']))
        self.assertEqual([(edge['parent'], edge['name'], edge['child'])
                          for edge in graph['edges']][-1], (2, 'root', 3))
        named = {node['id']: node['name'] for node in graph['nodes']}
        self.assertEqual([(named[edge['parent']], edge['name'], named[edge['child']])
                          for edge in graph['edges']][:-1],
                         [('top', 'file', 'top-file'), ('top', 'backing', 'mid'),
                          ('mid', 'file', 'mid-file'), ('mid', 'backing', 'base'),
                          ('base', 'file', 'base-file')])
        self.assertEqual([node['id'] for node in graph['nodes'] if node['name'] in
                          ('top', 'top-file', 'mid', 'mid-file', 'base', 'base-file')],
                         [9, 8, 7, 6, 5, 4])

    def test_drives_are_called_after_their_place(self):
        for text in ('if=ide,index=3', 'if=ide', 'if=ide,media=cdrom', 'if=virtio',
                     'if=virtio,index=4', 'if=virtio', 'if=none,id=x', 'if=none'):
            medium = '' if 'cdrom' in text else ',driver=null-co'
            self.vm.raw_drive(text + medium)
        lines = self.talk(('query-block',))
        self.assertEqual(re.findall(r'"device": "([\w-]+)"', lines[0])[:8],
                         ['ide1-hd1', 'ide0-hd0', 'ide0-cd1', 'virtio0', 'virtio4', 'virtio1', 'x',
                          'none1'])


class ReopenByOption(Case):
    """qemu-io's reopen -o, on a drive and the images below it."""

    def setUp(self):
        super().setUp()
        self.images.create('a.img', MIB)
        self.images.create('b.img', backing=self.images.path('a.img'))
        path = self.images.create('c.img', backing=self.images.path('b.img'))
        self.vm.raw_drive(f'if=none,id=d0,file={path},format=qcow2')
        self.vm.launch()

    def reopen(self, words):
        return self.vm.io('d0', f'reopen {words}').strip()

    def options(self):
        """{image: (what writes of zeroes become, whether flushes are ignored)}"""
        return {node['file'][-5] + ('' if node['drv'] == 'qcow2' else '-file'):
                (node['detect_zeroes'], node['cache']['no-flush'])
                for node in self.vm.command('query-named-block-nodes', flat=True)
                if node['drv'] in ('qcow2', 'file')}

    def test_reaches_what_is_below(self):
        self.assertEqual(self.reopen('-o detect-zeroes=on,backing.backing.detect-zeroes=on,'
                                     'backing.file.detect-zeroes=on'), '')
        self.assertEqual(self.options(), {
            'c': ('on', False), 'c-file': ('off', False), 'b': ('off', False),
            'b-file': ('on', False), 'a': ('on', False), 'a-file': ('off', False)})
        self.assertEqual(self.reopen('-o backing.cache.no-flush=on'), '')
        self.assertEqual([name for name, (_, ignores) in sorted(self.options().items())
                          if ignores], ['a', 'a-file', 'b', 'b-file'])
        self.assertEqual(self.reopen('-o backing.backing.detect-zeroes=off'), '')
        self.assertEqual(self.options()['a'], ('off', True))

    def test_reaches_what_only_the_driver_knows(self):
        for words in ('-o lazy-refcounts=on', '-o lazy-refcounts=off,pass-discard-request=on',
                      '-o overlap-check=none', '-o l2-cache-size=1M', '-o backing.lazy-refcounts=on',
                      '-o file.x-check-cache-dropped=on', '-o discard=on,detect-zeroes=unmap'):
            self.assertEqual(self.reopen(words), '', words)
        self.assertEqual(self.options()['c'], ('unmap', False))
        told = 'Cannot change the option '
        for words, text in (
                ('-o lazy-refcounts=maybe', "Parameter 'lazy-refcounts' expects 'on' or 'off'"),
                ('-o cache-size=64k,l2-cache-size=1M', 'l2-cache-size may not exceed cache-size'),
                ('-o file.locking=off', told + "'locking'"),
                ('-o file.filename=x', told + "'filename'"),
                ('-o node-name=z', told + "'node-name'"), ('-o force-share=on', told + "'force-share'"),
                ('-o discard=bad', 'Invalid discard option'),
                ('-o read-only=maybe', "Parameter 'read-only' expects 'on' or 'off'"),
                ('-o backing.lazy-refcounts=maybe',
                 "Parameter 'lazy-refcounts' expects 'on' or 'off'")):
            self.assertEqual(self.reopen(words), text)
        self.assertEqual(self.reopen(f'-o file.filename={self.folder}/c.img'), '')

    def test_warns_of_options_without_a_value(self):
        warning = ("warning: short-form boolean option '{}lazy-refcounts' deprecated\r\n"
                   'Please use lazy-refcounts={} instead')
        self.assertEqual(self.reopen('-o lazy-refcounts'), warning.format('', 'on'))
        self.assertEqual(self.reopen('-o nolazy-refcounts'), warning.format('no', 'off'))
        self.assertEqual(self.reopen('-o x'),
                         "warning: short-form boolean option 'x' deprecated\r\n"
                         "Please use x=on instead\r\nCannot change the option 'x'")

    def test_lazy_refcounts_want_version_3(self):
        self.vm.command('blockdev-add', driver='qcow2', node_name='old', file={
            'driver': 'file',
            'filename': self.images.create('old.img', MIB, options='compat=0.10')})
        self.assertEqual(self.vm.io('old', 'reopen -o lazy-refcounts=on'),
                         'Lazy refcounts require a qcow2 image with at least qemu 1.1 '
                         'compatibility level\r\n')

    def test_refuses_all_for_one(self):
        for words, text in (
                ('-o cache.no-flush=on -c unsafe', 'Cannot set both -c and the cache options'),
                ('-o detect-zeroes=on,backing.detect-zeroes=nope',
                 'invalid parameter value: nope'),
                ('-o detect-zeroes=unmap', 'setting detect-zeroes to unmap is not allowed without '
                 'setting discard operation to unmap'),
                ('-o nope=1', "Cannot change the option 'nope'"),
                ('-o backing.nope=1', "Cannot change the option 'nope'"),
                ('-o backing.driver=raw', "Cannot change the option 'driver'"),
                ('-o backing.cache.no-flush=maybe',
                 "Parameter 'cache.no-flush' expects 'on' or 'off'"),
                ('-o backing.backing.backing.detect-zeroes=on',
                 "Cannot change the option 'backing.detect-zeroes'")):
            self.assertEqual(self.reopen(words), text)
        self.assertEqual(set(self.options().values()), {('off', False)})
