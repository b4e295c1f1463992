"""A case that plans commands and carries them out: both say the same. Only millraced."""

from support.case import Case, without_times


def picture(graph):
    """What a graph is, without what only the host or the time tells: lengths, requests, ids; a name
    that was generated stands for its place among those."""
    generated = sorted((node['name'] for node in graph['nodes']
                        if node['name'].startswith('#block')), key=lambda name: int(name[6:]))

    def told(name):
        return f'#{generated.index(name)}' if name in generated else name

    def granted(edge):
        return sorted(edge['used']), sorted(edge['shared'])
    return {told(node['name']): {
        'driver': node['driver'],
        'read-only': node['read-only'],
        'implicit': node['implicit'],
        'claims': node['claims'],
        'users': sorted((user['holder']['type'], user['holder']['id'], user['purpose'],
                         user['device'], *granted(user)) for user in node['users']),
        'edges': sorted((edge['name'], edge['role'], told(edge['child']), edge['lease'],
                         *granted(edge)) for edge in node['edges']),
    } for node in graph['nodes']}


class PlanCase(Case):
    def graph(self):
        return picture(self.vm.command('x-millrace-explain')['graph'])

    def ask(self, command, arguments):
        """The plan; it changes nothing."""
        before, heard = self.graph(), len(self.vm.qmp.events())
        plan = self.vm.command('x-millrace-plan', command=command, arguments=arguments)
        self.assertEqual(self.graph(), before)
        self.assertEqual(len(self.vm.qmp.events()), heard)
        return plan

    def refused(self, text, command, **arguments):
        """Plan and command are refused alike; `text` is in what both say."""
        arguments = {key.replace('_', '-'): value for key, value in arguments.items()}
        with self.subTest(command=command, arguments=arguments):
            plan = self.ask(command, arguments)
            reply = self.vm.qmp.execute(command, arguments)
            self.assertIn('error', reply)
            self.assertIn(text, reply['error']['desc'])
            self.assertFalse(plan['accepted'], f'planned, but: {reply}')
            self.assertEqual(without_times(plan['error']), without_times(reply['error']))

    def refuser(self, command, **usual):
        """refused() of one command, with these arguments where a case does not say otherwise."""
        def refused(text, **more):
            given = {**usual, **more}
            self.refused(text, command, **{key: value for key, value in given.items()
                                           if value is not None})
        return refused

    def done(self, command, **arguments):
        """Plan and command are accepted; when the command has ended, the graph is the plan's."""
        arguments = {key.replace('_', '-'): value for key, value in arguments.items()}
        with self.subTest(command=command, arguments=arguments):
            plan = self.ask(command, arguments)
            self.assertTrue(plan['accepted'], plan)
            self.vm.qmp.take_events()
            reply = self.vm.qmp.execute(command, arguments)
            self.assertIn('return', reply)
            if 'job-id' in arguments:
                self.end_job(arguments['job-id'])
            self.assertEqual(picture(plan['graph']), self.graph())
        return plan

    def comes_true(self, command, has_graph=True, **arguments):
        """A command without a job: planned and done."""
        arguments = {key.replace('_', '-'): value for key, value in arguments.items()}
        with self.subTest(command=command, arguments=arguments):
            before = self.graph()
            plan = self.ask(command, arguments)
            self.assertTrue(plan['accepted'], plan)
            self.assertEqual('graph' in plan, has_graph, plan['steps'])
            self.assertIn('return', self.vm.qmp.execute(command, arguments))
            self.assertEqual(self.graph(), picture(plan['graph']) if has_graph else before)
            return plan

    def end_job(self, ident):
        event = self.vm.qmp.wait_event_that(
            lambda e: e['event'] in ('BLOCK_JOB_READY', 'BLOCK_JOB_COMPLETED'),
            what='ready or completed')
        if event['event'] == 'BLOCK_JOB_READY':
            self.vm.command('block-job-complete', device=ident)
            event = self.vm.qmp.wait_event('BLOCK_JOB_COMPLETED', device=ident)
        self.assertNotIn('error', event['data'])
        self.wait_status(ident, 'null')
