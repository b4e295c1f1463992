"""The rows of the table of goals, P1 to P17: what each measures, its floor and its goal.

A row is a generator of lines, over a Measurer. t is our time by QEMU's, L our speed by that of
`limit`, all medians of pairs from one rotation. Where there is no figure there is no judgement.
"""

import dataclasses

from harness.cells import Cell
from harness.chains import JOBS

READERS = ('stream', 'commit', 'mirror')  # the jobs that P7 and P8 name


def number(value):
    """Three digits, or all of a large one."""
    return f'{value:.3g}' if abs(value) < 1000 else f'{value:,.0f}'


@dataclasses.dataclass
class Bound:
    """A floor or a goal: what it asks, what was reached, and whether that will do."""
    asks: str
    reached: float = None
    is_met: bool = None

    def __str__(self):
        return self.asks if self.reached is None else f'{self.asks}: {number(self.reached)}'


def at_most(what, bound, reached):
    return Bound(f'{what} ≤ {number(bound)}'.strip(), reached,
                 None if reached is None else reached <= bound * 1.0005)


def at_least(what, bound, reached):
    return Bound(f'{what} ≥ {number(bound)}'.strip(), reached,
                 None if reached is None else reached >= bound / 1.0005)


@dataclasses.dataclass
class Line:
    what: str
    ours: float = None
    qemu: float = None
    unit: str = ''
    ratio: str = ''
    floor: Bound = None
    goal: Bound = None
    failures: list = dataclasses.field(default_factory=list)  # what went wrong, in whatever program


def failures(outcome):
    return [f'{name}, {len(errors)} times: {errors[0]}' for name, errors in outcome.errors.items()]


def inverse(value):
    return None if value is None else 1 / value


def time_ratio(outcome, figure='seconds'):
    """t: our time by QEMU's."""
    return inverse(outcome.ratio('millraced', 'QEMU', figure))


def line_of(outcome, what, figure, unit, **more):
    """A line with both programs' medians of a figure; its ratio is ours by QEMU's."""
    ours, qemu = (outcome.median(name, figure) for name in ('millraced', 'QEMU'))
    ratio = f'{ours / qemu:.2f}' if ours is not None and qemu else ''
    return Line(what, ours, qemu, unit, ratio, failures=failures(outcome), **more)


def worst(values):
    """The greatest (value, name); (None, '') of none."""
    return max(((value, name) for value, name in values if value is not None), default=(None, ''))


# ---- Jobs on a quiet machine -------------------------------------------------------------------


def job_line(m, cell, floor_t, goal_of, goal):
    outcome = m.cell(cell)
    t, share = time_ratio(outcome), outcome.ratio('millraced', goal_of, 'mb_s')
    name = 'L' if goal_of == 'limit' else f'of {goal_of}'
    return dataclasses.replace(line_of(outcome, cell.label(), 'mb_s', 'MB/s'),
                               ratio='' if t is None else f't {t:.2f}',
                               floor=at_most('t', floor_t, t), goal=at_least(name, goal, share))


def sequential(m):
    return [m.job_cell(job, 'seq') for job in JOBS]


def scattered(m):
    return [m.job_cell(job, layout) for layout in ('frag', 'shuffle', 'sparse') for job in JOBS]


def p1(m):
    for cell in sequential(m):
        yield job_line(m, cell, 1, 'limit', 0.95)


def p2(m):
    for cell in scattered(m):
        yield job_line(m, cell, 0.5, 'limit', 0.85)


def p3(m):
    cells = sequential(m) + scattered(m)
    outcomes = [(m.cell(cell), cell.label()) for cell in cells]
    wrong = [text for outcome, _ in outcomes for text in failures(outcome)]
    for figure, words, unit, floor, goal in (
            ('cpu_s_per_gb', 'processor time', 's/GB', 0.6, 0.25),
            ('calls_per_cluster', 'system calls per cluster', '', None, 0.3),
            ('faults_per_mb', 'minor faults per MB', '', None, 2)):
        ours, where = worst((outcome.median('millraced', figure), name)
                            for outcome, name in outcomes)
        qemu, _ = worst((outcome.median('QEMU', figure), name) for outcome, name in outcomes)
        absent = '' if ours is not None or figure != 'calls_per_cluster' else m.no_syscalls()
        yield Line(f'{words}, worst of {len(cells)} cells: {where or absent}', ours, qemu, unit,
                   floor=floor and at_most('', floor, ours), goal=at_most('', goal, ours),
                   failures=wrong)


def p4(m):
    for job in JOBS:
        yield job_line(m, m.job_cell(job, 'seq', cache='writeback'), 1, 'cp', 0.85)
    if not m.options.reflink_folder:
        yield Line('reflink: not measured, say --reflink-folder, on XFS or btrfs',
                   goal=at_most('', 1.2, None))
        return
    small, large = m.options.data_mib // 4, m.options.data_mib * 2
    for job in ('stream', 'commit'):
        outcome = m.together({' small': m.job_cell(job, 'seq', data_mib=small),
                              ' large': m.job_cell(job, 'seq', data_mib=large,
                                                   size_mib=m.options.size_mib * 2)},
                             folder=m.options.reflink_folder)
        factor = inverse(outcome.ratio('millraced large', 'millraced small', 'seconds'))
        yield Line(f'reflink, {job} seq: time of {large} MiB by that of {small}', factor,
                   inverse(outcome.ratio('QEMU large', 'QEMU small', 'seconds')), 'x',
                   goal=at_most('', 1.2, factor), failures=failures(outcome))


def p5(m):
    depth = m.options.depth
    outcome = m.together({' flat': m.job_cell('stream', 'frag'),
                          ' deep': m.job_cell('stream', 'frag', depth=depth)})
    factors = {name: inverse(outcome.ratio(f'{name} deep', f'{name} flat', 'seconds'))
               for name in ('millraced', 'QEMU')}
    t = inverse(outcome.ratio('millraced deep', 'QEMU deep', 'seconds'))
    yield Line(f'stream of {depth} layers by that of one', factors['millraced'], factors['QEMU'], 'x',
               '' if t is None else f't {t:.2f}', at_most('', 1.5, factors['millraced']),
               at_most('', 1.1, factors['millraced']), failures(outcome))
    outcome = m.together({' flat': m.guest_cell('none', 1),
                          ' deep': m.guest_cell('none', 1, depth=depth)})
    factors = {name: inverse(outcome.ratio(f'{name} deep', f'{name} flat', 'quiet_p50_ms'))
               for name in ('millraced', 'QEMU')}
    yield Line(f"guest's random reads, p50 at {depth} layers by that at one", factors['millraced'],
               factors['QEMU'], 'x', goal=at_most('', 1.2, factors['millraced']),
               failures=failures(outcome))


def p6(m):
    data = m.options.data_mib * 2
    for count in m.options.parallel:
        for topology in ('stacks', 'chain'):
            size = data * 2 if topology == 'chain' else max(16, data * 2 // count)
            cell = m.job_cell('stream', 'frag', parallel=count, topology=topology, data_mib=data,
                              size_mib=size)
            if cell.why_not():
                continue
            outcome = m.cell(cell)
            share, t = outcome.ratio('millraced', 'limit', 'mb_s'), time_ratio(outcome)
            yield dataclasses.replace(line_of(outcome, cell.label(), 'mb_s', 'MB/s'),
                                      ratio='' if t is None else f't {t:.2f}',
                                      floor=at_least('L', 0.8, share),
                                      goal=at_least('L', 0.9, share))


# ---- Guests ------------------------------------------------------------------------------------


def under(m, job, depth=1):
    """Enough data at depth 1 for a 99th percentile."""
    return m.cell(m.guest_cell(job, depth, data_mib=m.options.data_mib * (2 if depth == 1 else 1)))


def p7(m):
    for job in READERS:
        outcome = under(m, job)
        share, factor, speed = (outcome.median('millraced', figure)
                                for figure in ('iops_share', 'p99_factor', 'job_share'))
        yield line_of(outcome, f'guest under {job}: IOPS by those without', 'iops_share', 'x',
                      floor=at_least('', 0.7, share), goal=at_least('', 0.85, share))
        yield line_of(outcome, f'guest under {job}: p99 by that without', 'p99_factor', 'x',
                      floor=at_most('', 2, factor), goal=at_most('', 1.3, factor))
        yield line_of(outcome, f'{job} beside the guest: speed by that without', 'job_share', 'x',
                      goal=at_least('', 0.6, speed))


def stall_line(outcome, what, figure, depth):
    """At depth 1 a goal is 1 ms more than the usual; deeper, no more than the slowest in flight."""
    stall, usual = (outcome.median('millraced', each) for each in (figure, 'usual_stall_ms'))
    theirs, slowest = outcome.median('QEMU', figure), outcome.median('millraced', 'quiet_max_ms')
    if depth == 1:
        added = None if stall is None else max(0.0, stall - usual)
        goal = at_most('ms added', 1, added)
    else:
        goal = Bound('ms, none' if slowest is None else f'ms ≤ {number(slowest)}', stall,
                     None if stall is None else stall <= slowest)
    floor = Bound("QEMU's", stall, None if None in (stall, theirs) else stall <= theirs)
    return line_of(outcome, f'{what}, depth {depth}: longest request', figure, 'ms', floor=floor,
                   goal=goal)


def p8(m):
    for depth in (1, 16):
        for job in READERS:
            outcome = under(m, job, depth)
            for moment in ('start', 'finish'):
                yield stall_line(outcome, f'{moment} of {job}', f'{moment}_stall_ms', depth)
        for event, words in (('snapshot', 'snapshot'), ('filter', 'filter put in or taken out')):
            outcome = m.cell(m.guest_cell('none', depth, event=event))
            yield stall_line(outcome, words, 'event_stall_ms', depth)


def p9(m):
    outcome = m.cell(m.guest_cell('mirror', 16, pattern='randwrite'))
    converged = outcome.median('millraced', 'converged')
    share = inverse(outcome.median('millraced', 'job_share'))
    theirs = inverse(outcome.median('QEMU', 'job_share'))
    if outcome.median('QEMU', 'converged') == 0:
        theirs = None
    yield Line('mirror under random writes at depth 16: until ready, by its quiet time', share,
               theirs, 'x', "QEMU's did not converge" if outcome.median('QEMU', 'converged') == 0
               else '', at_least('converges', 1, converged), at_most('', 2, share if converged
                                                                    else None), failures(outcome))


# ---- Many --------------------------------------------------------------------------------------


def p10(m):
    counts = m.options.nodes
    for figure, words, goal in (('null_add_us', 'null node added', 60),
                                ('null_del_us', 'null node deleted', 60),
                                ('job_start_us', 'mirror job started', 150)):
        for count in counts:
            outcome = m.nodes(count)
            ours = outcome.median('millraced', figure)
            yield line_of(outcome, f'{words}, of {count}', figure, 'us',
                          floor=at_most('', 1000, ours), goal=at_most('', goal, ours))
        growth = figure.replace('_us', '_growth')
        outcome = m.nodes(counts[-1])
        ours = outcome.median('millraced', growth)
        yield line_of(outcome, f'{words}, of {counts[-1]}: last tenth by first', growth, 'x',
                      goal=at_most('', 1.2, ours))


def p11(m):
    outcome = m.nodes(m.options.pairs_of_nodes)
    ours = outcome.median('millraced', 'total_s')
    yield line_of(outcome, f'{m.options.pairs_of_nodes} null nodes and their jobs, in total',
                  'total_s', 's', floor=at_most('', 2, ours), goal=at_most('', 0.5, ours))


def p12(m):
    outcome = m.chain()
    ours = outcome.median('millraced', 'qcow2_add_us')
    yield line_of(outcome, 'qcow2 node added', 'qcow2_add_us', 'us', floor=at_most('', 1500, ours),
                  goal=at_most('', 400, ours))


def p13(m):
    nodes, chain = m.nodes(m.options.pairs_of_nodes), m.chain()
    for outcome, figure, words, floor, goal in (
            (nodes, 'null_node_kb', 'memory of a null node', 16, 2),
            (chain, 'qcow2_node_kb', 'memory of a qcow2 node', 64, 12),
            (nodes, 'idle_job_kb', 'memory of an idle job', 64, 16)):
        ours = outcome.median('millraced', figure)
        yield line_of(outcome, words, figure, 'KB', floor=at_most('', floor, ours),
                      goal=at_most('', goal, ours))


def p14(m):
    outcome = m.nodes(m.options.pairs_of_nodes)
    ours = outcome.median('millraced', 'idle_cpu_percent')
    idle = m.bench('idle_job', 'ProcessorTime').get('ProcessorTime/1000/iterations:1', {})
    wakes, quiet = idle.get('wake_ups'), idle.get('peer_wake_ups')
    yield line_of(outcome, 'processor time of READY jobs', 'idle_cpu_percent', '%',
                  goal=at_most('', 0, ours))
    yield Line('wake-ups a second of 1000 paused jobs', wakes,
               floor=None if wakes is None else Bound('as without jobs', wakes, wakes <= quiet),
               failures=m.bench_failures('idle_job'))


def p15(m):
    outcome = m.chain()
    for figure, words, goal in (('open_ms', 'opened', 60), ('snapshot_ms', 'snapshot on top', 0.3),
                                ('stream_start_ms', 'stream of the top pair started', 0.3),
                                ('query_ms', 'all nodes queried', 10)):
        ours, t = outcome.median('millraced', figure), time_ratio(outcome, figure)
        yield line_of(outcome, f'{m.options.depth} layers: {words}', figure, 'ms',
                      floor=at_most('t', 0.5, t), goal=at_most('', goal, ours))


# ---- Coroutines and exploration ----------------------------------------------------------------


def p16(m):
    told = m.bench('coroutine', 'BareSwitchPair|SwitchPairThroughRunQueue|CreateRunDestroy')
    wrong = m.bench_failures('coroutine')
    for name, words in (('BareSwitchPair', 'switch pair by bare Boost.Context'),
                        ('CreateRunDestroy/1', 'create + run + destroy by bare Boost.Context')):
        ours = told.get(f'{name}/manual_time', {}).get('ratio')
        yield Line(words, ours, unit='x', floor=at_most('', 1.5, ours),
                   goal=at_most('', 1.15, ours), failures=wrong)
    for count in (1, 1000):
        ours = told.get(f'SwitchPairThroughRunQueue/{count}/manual_time', {}).get('ours_ns')
        yield Line(f'switch through the run queue, {count} coroutines', ours, unit='ns',
                   goal=at_most('', 40, ours), failures=wrong)


def p17(m):
    for program, name, words, floor, goal in (
            ('schedules', 'StepsOnly', 'small', 10_000, 40_000),
            ('scenario', 'StreamMeetsCommit/manual_time', 'full', 2_000, 8_000)):
        told = m.bench(program, f'^{name.partition("/")[0]}').get(name, {})
        ours = told.get('schedules')
        yield Line(f'schedules a second and core, {words}', ours, floor=at_least('', floor, ours),
                   goal=at_least('', goal, ours), failures=m.bench_failures(program))


ROWS = {'P1': p1, 'P2': p2, 'P3': p3, 'P4': p4, 'P5': p5, 'P6': p6, 'P7': p7, 'P8': p8, 'P9': p9,
        'P10': p10, 'P11': p11, 'P12': p12, 'P13': p13, 'P14': p14, 'P15': p15, 'P16': p16,
        'P17': p17}
