"""Charts as SVG, written by hand: bars of ratios, and lines over a parameter."""

import html
import math

COLOURS = ('#2f6fb3', '#d1682c', '#3a8f4f', '#8c4fa3', '#a08a20', '#b03a48', '#4aa0a8', '#666666')
WIDTH, LEFT, ROW = 860, 240, 22
STYLE = 'font-family="sans-serif" font-size="12"'


def _text(x, y, words, anchor='start', more=''):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>'
            f'{html.escape(str(words))}</text>')


def ratio_bars(title, rows, note=''):
    """rows: [(label, ratio)]; 1 is the line in the middle, right of it is better."""
    rows = [(label, ratio) for label, ratio in rows if ratio > 0]
    height = 64 + ROW * len(rows)
    most = max([abs(math.log2(ratio)) for _, ratio in rows] + [1.0])
    middle, half = LEFT + (WIDTH - LEFT - 60) / 2, (WIDTH - LEFT - 60) / 2
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" {STYLE}>',
             f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
             _text(10, 20, title, more='font-weight="bold"'), _text(10, 38, note, more='fill="#555"')]
    for index, (label, ratio) in enumerate(rows):
        y = 50 + ROW * index
        length = math.log2(ratio) / most * half
        parts.append(f'<rect x="{min(middle, middle + length):.1f}" y="{y}" '
                     f'width="{abs(length):.1f}" height="{ROW - 6}" '
                     f'fill="{COLOURS[2] if ratio >= 1 else COLOURS[5]}"/>')
        parts.append(_text(LEFT - 8, y + 12, label, 'end'))
        parts.append(_text(middle + length + (5 if length >= 0 else -5), y + 12, f'{ratio:.2f}',
                           'start' if length >= 0 else 'end'))
    parts.append(f'<line x1="{middle}" y1="46" x2="{middle}" y2="{height - 8}" stroke="black"/>')
    return '\n'.join(parts + ['</svg>', ''])


def lines(title, unit, xs, series):
    """series: {name: [y or None per x]}; xs are labels, evenly spaced."""
    width, height, left, bottom, right = 560, 280, 60, 40, 150
    most = max([y for ys in series.values() for y in ys if y is not None] + [1e-9])
    at = lambda index: left + index * (width - left - right) / max(len(xs) - 1, 1)  # noqa: E731
    of = lambda y: height - bottom - y / most * (height - bottom - 36)  # noqa: E731
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" {STYLE}>',
             f'<rect width="{width}" height="{height}" fill="white"/>',
             _text(10, 18, f'{title} ({unit})', more='font-weight="bold"')]
    for step in range(5):
        y = of(most * step / 4)
        parts.append(f'<line x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}" '
                     'stroke="#ddd"/>')
        parts.append(_text(left - 6, y + 4, f'{most * step / 4:.3g}', 'end', 'fill="#555"'))
    for index, label in enumerate(xs):
        parts.append(_text(at(index), height - bottom + 18, label, 'middle'))
    for number, (name, ys) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = [(at(index), of(y)) for index, y in enumerate(ys) if y is not None]
        parts.append('<polyline fill="none" stroke-width="2" stroke="' + colour + '" points="'
                     + ' '.join(f'{x:.1f},{y:.1f}' for x, y in points) + '"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        parts.append(_text(width - right + 12, 48 + 18 * number, name, more=f'fill="{colour}"'))
    return '\n'.join(parts + ['</svg>', ''])


def page(title, command, charts, table):
    """One HTML page; charts are SVG texts, table is [[cell]] with a heading row."""
    rows = [''.join(f'<{"th" if not index else "td"}>{html.escape(str(cell))}'
                    f'</{"th" if not index else "td"}>' for cell in row)
            for index, row in enumerate(table)]
    return ('<!doctype html><meta charset="utf-8"><title>' + html.escape(title) + '</title>'
            '<style>body{font-family:sans-serif;margin:2em}td,th{padding:2px 10px;text-align:right}'
            'table{border-collapse:collapse}tr:nth-child(even){background:#f2f2f2}</style>'
            f'<h1>{html.escape(title)}</h1><p><code>{html.escape(command)}</code></p>'
            + '\n'.join(f'<div>{chart}</div>' for chart in charts)
            + '<table>' + ''.join(f'<tr>{row}</tr>' for row in rows) + '</table>\n')
