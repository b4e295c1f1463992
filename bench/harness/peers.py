"""Programs side by side: interleaved runs, medians, and the median of pairwise ratios."""

import argparse
import dataclasses
import json
import pathlib
import resource
import shutil
import signal
import statistics
import sys
import tempfile

from harness import cells, chains, guest, images, plot, references, syscalls, workloads
from harness.daemon import AIOS

HIGHER_IS_BETTER = ('mb_s', 'iops', 'iops_share', 'job_share', 'converged')


def is_better_higher(figure):
    return figure.endswith(HIGHER_IS_BETTER)


@dataclasses.dataclass
class Outcome:
    """What a rotation gave: a row of figures for each run of each program, None where it failed."""
    rows: dict
    errors: dict

    def median(self, name, figure):
        """None if no run gave it."""
        values = [row[figure] for row in self.rows.get(name, ()) if row and figure in row]
        return statistics.median(values) if values else None

    def ratio(self, name, against, figure):
        """How many times better than its peer's, pair by pair; None if there is no pair."""
        pairs = [(row[figure], other[figure])
                 for row, other in zip(self.rows.get(name, ()), self.rows.get(against, ()))
                 if row and other and row.get(figure, 0) > 0 and other.get(figure, 0) > 0]
        if not pairs:
            return None
        return statistics.median(one / other if is_better_higher(figure) else other / one
                                 for one, other in pairs)

    def figures(self, name):
        """All medians of a program."""
        every = {figure: None for row in self.rows.get(name, ()) if row for figure in row}
        return {figure: self.median(name, figure) for figure in every}

    def add(self, more):
        """Figures of other runs of the same."""
        for name, rows in more.rows.items():
            self.rows.setdefault(name, []).extend(rows)
        for name, errors in more.errors.items():
            self.errors.setdefault(name, []).extend(errors)
        return self


def rotate(runs, entries):
    """Runs [(name, function that returns figures)] in turn. Whoever is first finds the machine as the
    last run left it, so the order alternates. A run that fails is a failed run, and the next begins."""
    outcome = Outcome({name: [] for name, _ in entries}, {})
    for turn in range(runs):
        for name, run in entries[::1 if turn % 2 == 0 else -1]:
            try:
                outcome.rows[name].append(run())
            except Exception as error:  # pylint: disable=broad-except
                outcome.rows[name].append(None)
                outcome.errors.setdefault(name, []).append(f'{type(error).__name__}: {error}')
    return outcome


class Stage:
    """The folder of one cell, removed at the end, with what its programs run on."""

    def __init__(self, options, cell):
        self.options, self.cell = options, cell
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='millrace-bench-', dir=options.folder))
        self.images = chains.Images(self.folder, cell.plan(), cell.disk_bytes, cell.cache)
        self.flat = references.Flat(self.folder, self.images.plan.moved_bytes, cell.cache,
                                    options.limit_copy)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, program, **more):
        """The figures of one run."""
        work = workloads.guest_run if self.cell.guest else workloads.job_run
        try:
            return work(program, self.images, self.cell, self.options, **more)
        except BaseException:
            self.images.spoil()
            raise

    def entries(self, programs, suffix=''):
        return [(name + suffix, lambda program=program: self.run(program))
                for name, program in programs]

    def reference_entries(self):
        if self.cell.guest:
            return []
        return [(name, lambda name=name: self.flat.run(name)) for name in self.options.refs]


def measure_cell(options, programs, cell):
    """programs: [(name, path)]. References are in the same rotation."""
    with Stage(options, cell) as stage:
        outcome = rotate(options.runs, stage.entries(programs) + stage.reference_entries())
        if options.syscalls and not cell.guest and syscalls.way():
            calls = rotate(1, [(name, lambda program=program: stage.run(program, counts_calls=True))
                               for name, program in programs])
            outcome.add(calls)
    return outcome


# ---- Options and what is printed ---------------------------------------------------------------


def words(allowed=None):
    """An option's type: words with commas between."""
    def read(text):
        chosen = [word for word in text.split(',') if word]
        for word in chosen:
            if allowed and word not in allowed:
                raise argparse.ArgumentTypeError(f'{word}: expected some of {", ".join(allowed)}')
        return chosen
    return read


def numbers(text):
    return [int(word) for word in text.split(',') if word]


def add_common_options(parser, runs):
    parser.add_argument('--runs', type=int, default=runs)
    parser.add_argument('--size-mib', type=int, default=1024, help="of the guest's disk")
    parser.add_argument('--data-mib', type=int, default=256)
    parser.add_argument('--before-s', type=float, default=2, help='how long a guest warms up')
    parser.add_argument('--folder', default=tempfile.gettempdir(), help='where images are made')


def add_converge_option(parser):
    parser.add_argument('--converge-s', type=float, default=30,
                        help='how long a mirror may follow a guest that writes')


def add_options(parser):
    add_common_options(parser, runs=3)
    add_converge_option(parser)
    list_of = lambda *of: {'type': words(of), 'metavar': ','.join(of)}  # noqa: E731
    parser.add_argument('--jobs', default='stream,commit,active,mirror', **list_of(*chains.JOBS))
    parser.add_argument('--layouts', default='seq,frag', **list_of(*images.LAYOUTS))
    parser.add_argument('--depths', type=numbers, default='1', metavar='1,200',
                        help='layers that the data of a job are in')
    parser.add_argument('--parallel', type=numbers, default='1', metavar='1,64',
                        help='jobs at once, which share the data out')
    parser.add_argument('--topology', default='stacks', **list_of('stacks', 'chain'),
                        help='where they are: on stacks of their own, or streams in one chain')
    parser.add_argument('--aio', default='default', **list_of(*AIOS),
                        help="how files are read and written; default: what the program does if it "
                             "is not told. millraced reads native as default")
    parser.add_argument('--cache', default='direct', **list_of('direct', 'writeback'))
    parser.add_argument('--refs', default='limit', **list_of(*references.NAMES),
                        help='what copies the same bytes in the same rotation')
    parser.add_argument('--guest', type=numbers, default='1', metavar='1,16',
                        help="depths of a guest's requests; empty: no guest")
    parser.add_argument('--guest-patterns', default='randread', **list_of(*guest.PATTERNS))
    parser.add_argument('--guest-layers', type=numbers, default='1', metavar='1,200',
                        help='layers below a guest without a job')
    parser.add_argument('--guest-events', default='', **list_of(*cells.EVENTS),
                        help='edits of the graph below a guest without a job')
    parser.add_argument('--syscalls', action='store_true',
                        help='one run more of each job, its system calls counted (perf or strace)')
    parser.add_argument('--verify', action='store_true', help='compare what jobs wrote, check images')
    parser.add_argument('--out', type=pathlib.Path, help='a folder for SVG and JSON')
    parser.add_argument('--dry-run', action='store_true', help='only say what would be measured')


def prepare(options, program, say=lambda words: print(words, file=sys.stderr)):
    """Finds what the options need besides the programs, and says what is left out for want of it."""
    # Whoever is ended takes his daemons, guests and images along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    options.limit_copy = references.find_limit_copy(program)
    if 'limit' in options.refs and not options.limit_copy:
        say('no limit: build the target limit_copy')
        options.refs = [name for name in options.refs if name != 'limit']
    if options.guest and guest.missing():
        say(f'no guest: {guest.missing()}')
        options.guest = []
    if options.syscalls and not syscalls.way():
        say('no system calls: neither perf nor strace may count them here')
    if options.verify and chains.missing_tools():
        raise SystemExit(f'cannot verify: {chains.missing_tools()}')


def counted_figure(cell):
    """The figure of a cell that its ratio is of."""
    if cell.event:
        return 'event_stall_ms'
    if not cell.guest:
        return 'mb_s'
    return 'quiet_iops' if cell.job == 'none' else 'during_iops'


def measure(options, names, programs):
    """Runs the matrix and prints a line for each cell; {label: (cell, Outcome)}."""
    told = {}
    print(f'{"what":44} {"figure":14} {names[0]:>10} {names[1]:>10} {"ratio":>7} '
          + ''.join(f'{"of " + name:>9}' for name in options.refs), flush=True)
    for cell in cells.matrix(options, print):
        if options.dry_run:
            print(cell.label())
            continue
        outcome = measure_cell(options, list(zip(names, programs)), cell)
        told[cell.label()] = (cell, outcome)
        print_cell(options, cell, outcome, names)
    return told


def shown(value, form, absent='-'):
    return absent if value is None else format(value, form)


def print_cell(options, cell, outcome, names):
    figure = counted_figure(cell)
    ratio = outcome.ratio(names[1], names[0], figure)
    print(f'{cell.label():44} {figure:14} '
          + ' '.join(f'{shown(outcome.median(name, figure), ".1f", "FAILED"):>10}' for name in names)
          + f' {shown(ratio and "x" + format(ratio, ".2f"), ""):>7} '
          + ''.join(f'{shown(outcome.ratio(names[1], ref, figure), ".2f"):>9}'
                    for ref in options.refs)
          + '  ' + details(outcome, names), flush=True)
    for name, errors in outcome.errors.items():
        print(f'  {name} FAILED {len(errors)} times: {errors[0]}', flush=True)


DETAILS = (('cpu_s_per_gb', 'cpu s/GB', '.2f'), ('faults_per_mb', 'faults/MB', '.1f'),
           ('calls_per_cluster', 'calls/cluster', '.2f'), ('iops_share', 'of quiet', '.2f'),
           ('p99_factor', 'p99 x', '.2f'), ('job_share', 'job of its quiet speed', '.2f'),
           ('start_stall_ms', 'stall at start, ms', '.1f'),
           ('finish_stall_ms', 'at finish', '.1f'), ('usual_stall_ms', 'usual', '.1f'),
           ('converged', 'converged', '.0f'), ('cpu_us_per_request', 'cpu us/request', '.1f'))


def details(outcome, names):
    """What else a cell told, `QEMU's/millraced's`."""
    parts = []
    for figure, title, form in DETAILS:
        values = [outcome.median(name, figure) for name in names]
        if any(value is not None for value in values):
            parts.append(f'{title} ' + '/'.join(shown(value, form) for value in values))
    return '; '.join(parts)


def report(options, told, names, title):
    """Writes figures and charts; the exit status: 1 if a run failed."""
    failed = any(outcome.errors for _, outcome in told.values())
    if not options.out or options.dry_run:
        return int(failed)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / 'figures.json').write_text(json.dumps(
        {label: {'cell': dataclasses.asdict(cell), 'counts': counted_figure(cell),
                 'ratio': {figure: outcome.ratio(names[1], names[0], figure)
                           for figure in outcome.figures(names[1])},
                 **{name: outcome.figures(name) for name in outcome.rows},
                 'errors': outcome.errors}
         for label, (cell, outcome) in told.items()}, indent=1))
    note = f'{names[1]} against {names[0]}; right of the line is better; medians of pairs'
    for file, figure_of in (('throughput.svg', counted_figure),
                            ('processor.svg', lambda cell: 'cpu_s_per_gb'),
                            ('stalls.svg', lambda cell: 'start_stall_ms')):
        rows = [(label, outcome.ratio(names[1], names[0], figure_of(cell)))
                for label, (cell, outcome) in told.items()]
        rows = [(label, ratio) for label, ratio in rows if ratio]
        if rows:
            (options.out / file).write_text(plot.ratio_bars(f'{title}: {file[:-4]}', rows, note))
    print(f'charts and figures are in {options.out}')
    return int(failed)
