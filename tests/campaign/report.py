#!/usr/bin/env python3
"""What the campaigns have shown, from the ledger: as text, as JSON, as a page with plots.

    report.py [LEDGER] [--proofs FILE] [--gallery FILE] [--json FILE] [--html FILE]

--proofs is what scenario_proofs printed (its PROVEN lines); --gallery what `race_gallery run --all`
printed. What was run counts in full, and since the latest failure, where sums start again as in
ledger.py; sites that were met count in full: a later failure does not undo that. The exit status
is 1 if a site that is linked into the campaigns was never met: what a campaign never comes by it
says nothing about.
"""

import argparse
import html
import json
import math
import pathlib
import re
import sys

import ledger

SITE = 'site '
TASKS = 'last tasks of a round'
PROVEN = re.compile(r'^PROVEN (?P<name>.*?): (?P<proof>(?:delay bound (?P<bound>\d+) complete'
                    r'|every behaviour seen): (?P<schedules>\d+) schedules.*)$')
BOUND = re.compile(r'^(?P<not>not )?proven to bound (?P<bound>\d+): (?P<name>.*)$')
FOUND = re.compile(r'^(?P<mutant>[RM]\d+\w?) .* (?P<schedules>\d+) schedules +(?P<time>[\d.]+ m?s)  '
                   r'(?P<end>.*)$')


def proofs(lines):
    """One entry for each scenario of which something was proven."""
    found = []
    for match in filter(None, map(PROVEN.match, lines)):
        bound = match['bound']
        found.append({'scenario': match['name'], 'proof': match['proof'],
                      'bound': int(bound) if bound else None,
                      'schedules': int(match['schedules'])})
    return found


def nightly_proofs(entries):
    """The same of the campaign that proves bounds, each of the latest commit it was tried at."""
    latest = {}
    for entry in entries:
        for count, schedules in entry['counts'].items():
            if match := BOUND.match(count):
                latest[match['name']] = {
                    'scenario': match['name'], 'bound': int(match['bound']),
                    'schedules': schedules, 'is_complete': not match['not'],
                    'proof': f'delay bound {match["bound"]} '
                             f'{"not " if match["not"] else ""}complete: {schedules} schedules, '
                             f'at {entry["commit"]}'}
    return list(latest.values())


def rounds(entries):
    """[{'commit', 'tried', 'tasks'}] of the campaign that proves bounds: how many of the scenarios that
    are to be proven were tried at each commit, which a round goes through once."""
    found = {}
    for entry in entries:
        if tasks := entry['counts'].get(TASKS):
            tried = found.setdefault(entry['commit'], {'commit': entry['commit'], 'tried': set()})
            tried['tasks'] = tasks
            tried['tried'] |= {match['name'] for match in map(BOUND.match, entry['counts']) if match}
    return [{**each, 'tried': len(each['tried'])} for each in found.values()]


def best_proofs(of_the_build, of_the_nights):
    """Of each scenario what says most."""
    best = {each['scenario']: each for each in of_the_build}
    for each in of_the_nights:
        known = best.get(each['scenario'])
        if each['is_complete'] and (known is None or known['bound'] is None
                                    or known['bound'] <= each['bound']):
            best[each['scenario']] = {key: each[key] for key in
                                      ('scenario', 'proof', 'bound', 'schedules')}
    return list(best.values())


def mutants(lines):
    """One entry for each mutant of the gallery."""
    return [{'mutant': match['mutant'], 'schedules': int(match['schedules']),
             'time': match['time'], 'killed': match['end'] != 'no failure'}
            for match in filter(None, map(FOUND.match, lines))]


def sites(entries):
    """{'kind name': hits} over all campaigns that know of sites."""
    hits = {}
    for entry in entries:
        for name, count in entry['counts'].items():
            if name.startswith(SITE):
                hits[name[len(SITE):]] = hits.get(name[len(SITE):], 0) + count
    return hits


def report(entries, proof_lines=(), gallery_lines=()):
    """Everything there is to say, as one JSON object."""
    sums = ledger.sums(entries)

    def count(name, campaigns=None):
        return sum(total['counts'].get(name, 0) for campaign, total in sums.items()
                   if campaigns is None or campaign in campaigns)
    def count_all(name, campaigns=None):
        return sum(entry['counts'].get(name, 0) for entry in entries
                   if campaigns is None or entry['campaign'] in campaigns)
    hits = sites(entries)
    explored = count_all('schedules', ['schedules'])
    seen_once = count_all('traces seen once')
    found = mutants(gallery_lines)
    nights = nightly_proofs(entries)
    return {
        'commits': list(dict.fromkeys(entry['commit'] for entry in entries)),
        'wall_seconds': sum(entry['seconds'] for entry in entries),
        'schedules': count_all('schedules') + 2 * count_all('seeds run twice'),
        'schedules_since_the_latest_failure': count('schedules') + 2 * count('seeds run twice'),
        'steps': count_all('steps'),
        'distinct_traces': count_all('traces'),
        'next_is_new': seen_once / explored if explored else None,
        'seeds_run_twice': count('seeds run twice'),
        'crash_images': count('crash images'),
        'crash_points': count('crash points'),
        'restarts': count('restarts'),
        'sites_met': sum(1 for value in hits.values() if value),
        'sites': hits,
        'sites_never_met': sorted(name for name, value in hits.items() if not value),
        'rounds': rounds(entries),
        'proofs': best_proofs(proofs(proof_lines), nights),
        'not_proven': [each['proof'] + ': ' + each['scenario'] for each in nights
                       if not each['is_complete']],
        'mutants': found,
        'mutants_killed': sum(1 for each in found if each['killed']),
        'failures': sum(entry['failures'] for entry in entries),
        'campaigns': {name: {key: total[key] for key in ('slices', 'seconds', 'seeds',
                                                         'last_failure')}
                      for name, total in sorted(sums.items())},
    }


def bounds_in_words(proven):
    """'41 complete, 97 to delay bound 2, 12 to delay bound 1'"""
    counts = {}
    for each in proven:
        counts[each['bound']] = counts.get(each['bound'], 0) + 1
    words = [f'{counts.pop(None)} in every order'] if None in counts else []
    words += [f'{counts[bound]} to delay bound {bound}' for bound in sorted(counts, reverse=True)]
    return ', '.join(words) or 'not given (--proofs)'


def killed_in_words(found):
    """'79 of 79 of QEMU's races, 20 of 20 of our own bugs'"""
    words = []
    for kind, letter in (("QEMU's races", 'R'), ('our own bugs', 'M')):
        killed = [each['killed'] for each in found if each['mutant'].startswith(letter)]
        words += [f'{sum(killed)} of {len(killed)} of {kind}'] if killed else []
    return ', '.join(words) or 'not given (--gallery)'


def commits_in_words(commits):
    """'19, from a8c04ce808fa to 7d9b03114193'"""
    if len(commits) < 4:
        return ', '.join(commits) or 'none'
    return f'{len(commits)}, from {commits[0]} to {commits[-1]}'


def rows(said):
    """[(what, value)] of the report's head."""
    chance = '-' if said['next_is_new'] is None else f'{said["next_is_new"]:.3f}'
    return [
        ('commits', commits_in_words(said['commits'])),
        ('wall time', f'{said["wall_seconds"] / 3600:.2f} h'),
        ('schedules', f'{said["schedules"]:,}, of which '
                      f'{said["schedules_since_the_latest_failure"]:,} since the latest finding'),
        ('distinct traces (within blocks)', f'{said["distinct_traces"]:,}'),
        ('chance that the next run of a block is new (f1/N)', chance),
        ('seeds run twice with equal hashes', f'{said["seeds_run_twice"]:,}'),
        ('crash images', f'{said["crash_images"]:,} at {said["crash_points"]:,} points, '
                         f'{said["restarts"]:,} jobs started again'),
        ('scenarios proven', bounds_in_words(said['proofs'])),
        ('of the nightly bounds', ', '.join(f'{each["tried"]} of {each["tasks"]} at {each["commit"]}'
                                            for each in said['rounds'][-3:]) or 'none counted yet'),
        ('mutants killed', killed_in_words(said['mutants'])),
        ('sites met (sometimes, always, buggify)', f'{said["sites_met"]} of {len(said["sites"])}'),
        ('findings in the ledger', f'{said["failures"]}'),
    ]


def as_text(said):
    head = rows(said)
    width = max(len(what) for what, _ in head)
    lines = [f'{what:<{width}}  {value}' for what, value in head]
    lines += [f'never met: {name}' for name in said['sites_never_met']]
    lines += [f'not proven: {each}' for each in said['not_proven']]
    lines += [f'proven: {each["scenario"]}: {each["proof"]}' for each in said['proofs']]
    return '\n'.join(lines) + '\n'


def growth_plot(entries):
    """Schedules and crash images, each as a part of its sum, over the wall time of all slices."""
    left, right, top, bottom, width = 8, 632, 24, 140, 640
    hours = sum(entry['seconds'] for entry in entries) / 3600
    parts, legend = [], []
    for name, colour in (('schedules', '#2563eb'), ('crash images', '#d97706')):
        total, seconds, points = 0, 0, [(0, 0)]
        for entry in entries:
            seconds += entry['seconds']
            total += entry['counts'].get(name, 0)
            points.append((seconds, total))
        if not total or not seconds:
            continue
        path = ' '.join(f'{left + (right - left) * at / seconds:.1f},'
                        f'{bottom - (bottom - top) * value / total:.1f}' for at, value in points)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" '
                     f'stroke-linejoin="round" points="{path}"/>')
        legend.append(f'<text x="{left + 160 * len(legend)}" y="14" fill="{colour}">'
                      f'{total:,} {name}</text>')
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 1000) if hours <= 10 * step)
    for hour in range(step, int(hours) + 1, step):
        x = left + (right - left) * hour / hours
        parts.insert(0, f'<path d="M{x:.1f} {top}V{bottom}" stroke="#e2e8f0"/>'
                        f'<text x="{x:.1f}" y="{bottom + 13}" text-anchor="middle" fill="#64748b">'
                        f'{hour} h</text>')
    return (f'<svg viewBox="0 0 {width} 160" role="img"><rect x="{left}" y="{top}" '
            f'width="{right - left}" height="{bottom - top}" fill="#f8fafc"/>'
            f'{"".join(parts)}{"".join(legend)}</svg>')


def bar_plot(values):
    """Bars of [(label, value)], as long as the logarithm of the value."""
    if not values:
        return '<p>nothing to show</p>'
    row, width = 16, 640
    left = min(380, 16 + 6 * max(len(label) for label, _ in values))
    longest = max(math.log10(1 + value) for _, value in values) or 1
    parts = []
    for i, (label, value) in enumerate(values):
        length = (width - left - 90) * math.log10(1 + value) / longest
        parts.append(f'<text x="{left - 6}" y="{row * i + 12}" text-anchor="end">'
                     f'{html.escape(label)}</text><rect x="{left}" y="{row * i + 3}" '
                     f'width="{length:.1f}" height="10" fill="{"#2563eb" if value else "#dc2626"}"/>'
                     f'<text x="{left + length + 5:.1f}" y="{row * i + 12}">{value:,}</text>')
    return (f'<svg viewBox="0 0 {width} {row * len(values) + 4}" role="img">{"".join(parts)}</svg>')


def as_html(said, entries):
    head = ''.join(f'<tr><th>{html.escape(what)}</th><td>{html.escape(value)}</td></tr>'
                   for what, value in rows(said))
    by_hits = sorted(said['sites'].items(), key=lambda each: each[1])
    by_schedules = [(each['scenario'], each['schedules']) for each in
                    sorted(said['proofs'], key=lambda each: -each['schedules'])]
    by_effort = [(each['mutant'], each['schedules'] if each['killed'] else 0)
                 for each in sorted(said['mutants'], key=lambda each: -each['schedules'])]
    sections = [('Growth', 'Findings in between stop a campaign until they are mended.',
                 growth_plot(entries)),
                ('Mutants', 'The schedule that killed each, on a logarithmic scale; red: none did.',
                 bar_plot(by_effort)),
                ('Proofs', 'How many schedules each took, on a logarithmic scale.',
                 bar_plot(by_schedules)),
                ('Sites', 'How often the campaigns came by, on a logarithmic scale; red: never.',
                 bar_plot(by_hits))]
    body = ''.join(f'<h2>{title}</h2><p>{what}</p>{plot}' for title, what, plot in sections)
    return ('<!doctype html><html lang="en"><meta charset="utf-8"><title>Millrace campaigns</title>'
            '<style>body{font:15px system-ui,sans-serif;max-width:60rem;margin:2rem auto;'
            'padding:0 1rem;color:#0f172a}h2{margin:2.5rem 0 .25rem}'
            'p{margin:0 0 .75rem;color:#64748b}'
            'table{border-collapse:collapse}th{text-align:left;font-weight:500;white-space:nowrap}'
            'td,th{padding:.3rem 2rem .3rem 0;vertical-align:top;border-bottom:1px solid #e2e8f0}'
            'svg{width:100%;font:10px system-ui,sans-serif}</style>'
            f'<h1>Millrace campaigns</h1><table>{head}</table>{body}</html>\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('ledger', nargs='?', type=pathlib.Path,
                        default=pathlib.Path(__file__).parent / 'ledger.jsonl')
    for flag in ('--proofs', '--gallery', '--json', '--html'):
        parser.add_argument(flag, type=pathlib.Path)
    options = parser.parse_args()

    def lines(path):
        return path.read_text(encoding='utf-8').splitlines() if path else []
    entries = ledger.read(options.ledger)
    said = report(entries, lines(options.proofs), lines(options.gallery))
    if options.json:
        options.json.write_text(json.dumps(said, indent=2) + '\n', encoding='utf-8')
    if options.html:
        options.html.write_text(as_html(said, entries), encoding='utf-8')
    sys.stdout.write(as_text(said))
    return 1 if said['sites_never_met'] else 0


if __name__ == '__main__':
    sys.exit(main())
