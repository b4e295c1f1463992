"""Two programs side by side: interleaved runs, medians, and the median of pairwise ratios."""

import json
import pathlib
import shutil
import statistics
import sys
import tempfile

from harness import guest, plot, workloads

HIGHER_IS_BETTER = ('mb_s', 'iops', 'iops_share')


def add_options(parser):
    parser.add_argument('--runs', type=int, default=5)
    parser.add_argument('--size-mib', type=int, default=1024, help="of the guest's disk")
    parser.add_argument('--data-mib', type=int, default=256)
    parser.add_argument('--cache', default='direct', choices=('direct', 'writeback'))
    parser.add_argument('--aio', default='threads', choices=('threads', 'native', 'io_uring'))
    parser.add_argument('--before-s', type=float, default=3, help='how long a guest warms up')
    parser.add_argument('--verify', action='store_true', help='compare what jobs wrote, check images')
    parser.add_argument('--folder', default=tempfile.gettempdir(), help='where images are made')
    parser.add_argument('--out', type=pathlib.Path, help='a folder for SVG, HTML and JSON')
    parser.add_argument('--jobs', default=','.join(workloads.JOBS))
    parser.add_argument('--layouts', default='seq,frag,shuffle,sparse')
    parser.add_argument('--guest', default='1,16', help="depths of a guest's requests; empty: none")
    parser.add_argument('--depths', default='1,16', help='layers that the data of a job are in')


def cells(options):
    """(label, function of program and folder, the figure that counts) of the whole matrix."""
    jobs = [job for job in options.jobs.split(',') if job]
    for job in jobs:
        for layout in filter(None, options.layouts.split(',')):
            yield (f'{job} {layout}', lambda program, folder, j=job, la=layout:
                   workloads.job_run(program, folder, options, j, la), 'mb_s')
        for depth in [int(one) for one in options.depths.split(',') if one and int(one) > 1]:
            yield (f'{job} frag, {depth} layers', lambda program, folder, j=job, d=depth:
                   workloads.job_run(program, folder, options, j, 'frag', d), 'mb_s')
    if not options.guest or guest.missing():
        if options.guest:
            print(f'no guest: {guest.missing()}', file=sys.stderr)
        return
    for depth in [int(one) for one in options.guest.split(',')]:
        yield (f'guest alone, depth {depth}', lambda program, folder, d=depth:
               workloads.guest_run(program, folder, options, 'none', d), 'quiet_iops')
        for job in jobs:
            yield (f'guest under {job}, depth {depth}', lambda program, folder, j=job, d=depth:
                   workloads.guest_run(program, folder, options, j, d), 'during_iops')


def is_better_higher(figure):
    return figure.endswith(HIGHER_IS_BETTER)


def measure(options, names, programs):
    """{label: {'a': medians, 'b': medians, 'ratio': {figure: better-is-above-1}, 'counts': ..}}"""
    told = {}
    for label, run, counts in cells(options):
        rows = {name: [] for name in names}
        for turn in range(options.runs):
            # Whoever is first finds the machine as the last run left it: take turns.
            order = list(zip(names, programs))[::1 if turn % 2 == 0 else -1]
            for name, program in order:
                folder = tempfile.mkdtemp(prefix='millrace-bench-', dir=options.folder)
                try:
                    rows[name].append(run(program, folder))
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
        ratios = {}
        for figure in rows[names[0]][0]:
            pairs = [(a[figure], b[figure]) for a, b in zip(rows[names[0]], rows[names[1]])]
            pairs = [(a, b) for a, b in pairs if a > 0 and b > 0]
            if pairs:
                ratios[figure] = statistics.median(
                    b / a if is_better_higher(figure) else a / b for a, b in pairs)
        medians = {name: {figure: statistics.median(row[figure] for row in rows[name])
                          for figure in rows[name][0]} for name in names}
        told[label] = {'counts': counts, 'ratio': ratios, **medians}
        print_row(label, told[label], names)
    return told


def print_row(label, cell, names):
    counts = cell['counts']
    extra = ''
    if 'cpu_s_per_gb' in cell['ratio']:
        extra = f'cpu/GB x{cell["ratio"]["cpu_s_per_gb"]:.2f}'
    elif 'cpu_us_per_request' in cell['ratio']:
        extra = f'cpu/request x{cell["ratio"]["cpu_us_per_request"]:.2f}'
    elif 'iops_share' in cell[names[1]]:
        extra = ' '.join(f'{name}: {cell[name]["iops_share"]:.2f} of quiet, p99 x'
                         f'{cell[name]["p99_factor"]:.2f}' for name in names)
    print(f'{label:28} {counts:12} {cell[names[0]][counts]:10.1f} {cell[names[1]][counts]:10.1f} '
          f'x{cell["ratio"].get(counts, 0):.2f}  {extra}', flush=True)


def report(options, told, names, title):
    if not options.out:
        return
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / 'figures.json').write_text(json.dumps(told, indent=1))
    note = f'{names[1]} against {names[0]}; right of the line is better; medians of pairs'
    for file, figure_of in (('throughput.svg', lambda cell: cell['counts']),
                            ('processor.svg', lambda cell: 'cpu_s_per_gb'),
                            ('stalls.svg', lambda cell: 'start_stall_ms')):
        rows = [(label, cell['ratio'][figure_of(cell)]) for label, cell in told.items()
                if figure_of(cell) in cell['ratio']]
        if rows:
            (options.out / file).write_text(plot.ratio_bars(f'{title}: {file[:-4]}', rows, note))
    print(f'charts and figures are in {options.out}')
