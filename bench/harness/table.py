"""The table of goals: measures the rows that were asked for, keeps each as a slice in a folder, and
prints all slices that are there."""

import contextlib
import copy
import json
import os
import pathlib
import subprocess
import tempfile
import time

from harness import many, peers, syscalls
from harness.cells import Cell
from harness.rows import ROWS, number

COLUMNS = ('row', 'what', 'ours', 'QEMU', 'ratio', 'floor', 'met', 'goal', 'met')


class Measurer:
    """Measures what rows ask for, each thing once, however many rows need it."""

    def __init__(self, options):
        self.options = options
        self._memory = {}
        self._programs = [('QEMU', options.qemu)] if options.qemu else []
        self._programs.append(('millraced', options.millraced))

    # ---- Cells of the matrix -------------------------------------------------------------------

    def job_cell(self, job, layout, **more):
        sizes = {'size_mib': self.options.size_mib, 'data_mib': self.options.data_mib}
        if layout == 'sparse':  # one cluster in twenty of it
            sizes['size_mib'] *= 4
        return Cell(job, layout, **{**sizes, **more})

    def guest_cell(self, job, requests, **more):
        return self.job_cell(job, 'frag', guest=requests, **more)

    def cell(self, cell):
        return self._once(cell, lambda: peers.measure_cell(self._options_of(cell), self._programs,
                                                           cell))

    def together(self, cells, folder=None):
        """Several cells in one rotation: {suffix: cell}; names are those of programs and suffixes."""
        def measure():
            with contextlib.ExitStack() as stages:
                entries = []
                for suffix, cell in cells.items():
                    options = self._options_of(cell)
                    options.folder = folder or options.folder
                    stage = stages.enter_context(peers.Stage(options, cell))
                    entries += stage.entries(self._programs, suffix)
                return peers.rotate(self.options.runs, entries)
        return self._once((tuple(cells.items()), folder), measure)

    def _options_of(self, cell):
        options = copy.copy(self.options)
        options.refs = [name for name in ('limit', 'cp')
                        if name == 'cp' or self.options.limit_copy] if (
                            cell.cache == 'writeback') else ['limit'] * bool(options.limit_copy)
        options.syscalls = cell.parallel == 1 and cell.depth == 1 and cell.cache == 'direct'
        return options

    @staticmethod
    def no_syscalls():
        return '' if syscalls.way() else 'neither perf nor strace may count them here'

    # ---- Many nodes, deep chains, programs in C++ ----------------------------------------------

    def nodes(self, count):
        """QEMU's time grows with the square of their number: beyond the pairs of P11 it is left out."""
        programs = [each for each in self._programs
                    if each[0] == 'millraced' or count <= self.options.pairs_of_nodes]
        return self._once(('nodes', count), lambda: self._in_folder(
            programs, lambda program, folder: many.many_nodes(program, folder, count, 1000)))

    def chain(self):
        return self._once('chain', lambda: self._in_folder(
            self._programs, lambda program, folder: many.deep_chain(
                program, folder, many.make_chain(folder, self.options.depth))))

    def _in_folder(self, programs, what):
        with tempfile.TemporaryDirectory(prefix='millrace-bench-', dir=self.options.folder) as folder:
            return peers.rotate(self.options.runs,
                                [(name, lambda program=program: what(program, folder))
                                 for name, program in programs])

    def bench(self, name, only):
        """{name of a measurement: its figures} of a program in C++; empty if it failed."""
        return self._once(('bench', name, only), lambda: self._run_bench(name, only))

    def bench_failures(self, name):
        return self._memory.get(('failed', name), [])

    def _run_bench(self, name, only):
        program = pathlib.Path(self.options.benches) / f'{name}_bench'
        words = [str(program), '--benchmark_format=json', f'--benchmark_filter={only}']
        if self.options.quick:
            words.append('--benchmark_min_time=0.001')
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=True)
            return {each['name']: each for each in json.loads(done.stdout)['benchmarks']}
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self._memory['failed', name] = [f'{program.name}: {error}']
            return {}

    def _once(self, key, measure):
        if key not in self._memory:
            self._memory[key] = measure()
        return self._memory[key]


# ---- Slices ------------------------------------------------------------------------------------


def measure_rows(options, names, say):
    """Writes a slice of each row into options.out; whether nothing failed."""
    measurer, is_well = Measurer(options), True
    for name in names:
        begun, lines = time.time(), []
        say(f'{name} ...')
        try:
            for line in ROWS[name](measurer):
                lines.append(as_cells(name, line))
        except Exception as error:  # pylint: disable=broad-except
            lines.append({'row': name, 'what': 'the row itself',
                          'failures': [f'{type(error).__name__}: {error}']})
        is_well &= not any(line['failures'] for line in lines)
        told = {'lines': lines, 'at': time.strftime('%Y-%m-%d %H:%M', time.gmtime(begun)),
                'seconds': time.time() - begun, 'load': os.getloadavg()[0], 'runs': options.runs,
                'of': revision(), 'quick': options.quick}
        (options.out / f'{name}.json').write_text(json.dumps(told, indent=1))
        say(f'{name} took {told["seconds"]:.0f} s')
    return is_well


def revision():
    root = pathlib.Path(__file__).resolve().parents[2]
    told = subprocess.run(['git', 'describe', '--always', '--dirty'], cwd=root, capture_output=True,
                          text=True, check=False)
    return told.stdout.strip() or 'no commit'


def as_cells(name, line):
    """A line as it is printed and kept."""
    def figure(value):
        return '-' if value is None else f'{number(value)} {line.unit}'.strip()

    def has_failed(program):
        return any(text.startswith(program) for text in line.failures)

    def met(bound):
        if bound is None:
            return ''
        if bound.is_met is None:
            return '?'
        # One run that failed is enough, however fast the others were.
        return 'yes' if bound.is_met and not has_failed('millraced') else 'no'
    return {'row': name, 'what': line.what,
            'ours': 'FAILED' if line.ours is None and line.failures else figure(line.ours),
            'QEMU': 'FAILED' if line.qemu is None and has_failed('QEMU') else figure(line.qemu),
            'ratio': line.ratio,
            'floor': str(line.floor or ''), 'floor met': met(line.floor),
            'goal': str(line.goal or ''), 'goal met': met(line.goal), 'failures': line.failures}


def slices(folder):
    """{row: slice} of all that were measured into this folder, in the order of the table."""
    found = {}
    for name in ROWS:
        path = pathlib.Path(folder) / f'{name}.json'
        if path.exists():
            found[name] = json.loads(path.read_text())
    return found


def rows_of(found):
    for told in found.values():
        for line in told['lines']:
            yield [line['row'], line['what'], line.get('ours', 'FAILED'),
                   *(line.get(key, '') for key in ('QEMU', 'ratio', 'floor', 'floor met', 'goal',
                                                   'goal met'))]


def notes(found):
    """What a reader has to know besides: how each slice came about, and what failed in it."""
    for name, told in found.items():
        sort = ' TINY SIZES, SAYS NOTHING;' if told['quick'] else ''
        yield (f'{name}:{sort} {told["of"]}, {told["at"]} UTC, {told["runs"]} runs, '
               f'load {told["load"]:.1f}, {told["seconds"]:.0f} s')
        # A cell is told by several lines.
        yield from dict.fromkeys(f'{name}: FAILED: {text}' for line in told['lines']
                                 for text in line['failures'])


def verdict(found):
    """How many rows meet their floor, and how many their goal, all lines of them."""
    counts = []
    for kind in ('floor', 'goal'):
        met = [name for name, told in found.items()
               if all(line.get('ours', 'FAILED') != 'FAILED' and line[f'{kind} met'] in ('yes', '')
                      for line in told['lines'])]
        counts.append(f'{len(met)} of {len(found)} rows meet their {kind}'
                      + (f'; not {", ".join(name for name in found if name not in met)}'
                         if len(met) < len(found) else ''))
    return counts


def as_text(found):
    table = [list(COLUMNS), *rows_of(found)]
    widths = [max(len(row[column]) for row in table) for column in range(len(COLUMNS))]
    lines = ['  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
             for row in table]
    return '\n'.join(lines + [''] + verdict(found) + list(notes(found))) + '\n'


def as_markdown(found):
    lines = ['| ' + ' | '.join(COLUMNS) + ' |', '|' + '---|' * len(COLUMNS)]
    lines += ['| ' + ' | '.join(cell.replace('|', '/') for cell in row) + ' |'
              for row in rows_of(found)]
    return '\n'.join(lines + [''] + [f'- {text}' for text in (*verdict(found), *notes(found))]) + '\n'
