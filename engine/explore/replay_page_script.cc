#include "millrace/engine/explore/replay_page_parts.h"

namespace millrace {

const char kReplayPageGraphScript[] = R"js(
'use strict';
const BOX_WIDTH = 148, BOX_HEIGHT = 44, ROW = 92, COLUMN = 370, TEXT_MAX = 31;

function svg(parent, tag, attributes, text) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  parent.appendChild(element);
  return element;
}
function shortened(text, max) {
  return text.length > max ? text.slice(0, max - 1) + '\u2026' : text;
}
// A snapshot is the recorder's JSON; whatever else it is draws nothing.
function parseGraph(text) {
  try {
    const graph = JSON.parse(text);
    return Array.isArray(graph.nodes) ? graph.nodes : null;
  } catch (error) {
    return null;
  }
}
// The nodes of now, and those of before that are gone, each with its row: one below the lowest of
// its parents.
function placed(now, before) {
  const nodes = new Map();
  for (const node of now) nodes.set(node.id, { node, isDead: false });
  for (const node of before) {
    if (!nodes.has(node.id)) nodes.set(node.id, { node, isDead: true });
  }
  const byName = new Map();
  for (const each of nodes.values()) {
    if (!each.isDead || !byName.has(each.node.name)) byName.set(each.node.name, each);
  }
  for (const each of nodes.values()) {
    each.row = 0;
    each.below = (each.node.edges || []).map((edge) => ({ edge, to: byName.get(edge.child) }))
        .filter((link) => link.to);
  }
  for (let round = 0, isMoving = true; isMoving && round < nodes.size; ++round) {
    isMoving = false;
    for (const each of nodes.values()) {
      for (const { to } of each.below) {
        if (to.row <= each.row) { to.row = each.row + 1; isMoving = true; }
      }
    }
  }
  const rows = [];
  for (const each of nodes.values()) (rows[each.row] = rows[each.row] || []).push(each);
  const width = Math.max(1, ...rows.map((row) => (row || []).length));
  rows.forEach((row, y) => row.forEach((each, x) => {
    each.x = x * COLUMN + 16;
    each.y = y * ROW + 14;
  }));
  return { list: [...nodes.values()], width: width * COLUMN, height: rows.length * ROW };
}
function usersOf(node) {
  const lines = (node.users || []).map(
      (user) => `${user.device || user.holder.id || user.holder.type}: ${user.purpose}`);
  for (const claim of node.claims || []) {
    const all = claim.operations.length > 3 ? 'claimed' : `claimed: ${claim.operations.join(', ')}`;
    lines.push(`${claim.holder.id || claim.holder.type}: ${all}`);
  }
  return lines;
}
function drawEdge(root, from, { edge, to }, isGone) {
  const lease = edge.lease;
  const group = svg(root, 'g', { class: isGone ? 'gone' : lease ? 'frozen' : '',
                                 'data-edge': `${from.node.name}>${edge.child}` });
  if (lease) group.setAttribute('data-lessee', lease.id);
  const x1 = from.x + BOX_WIDTH / 2, y1 = from.y + BOX_HEIGHT;
  const x2 = to.x + BOX_WIDTH / 2, y2 = to.y - 2;
  const middle = (y1 + y2) / 2;
  // A link past other rows goes around what lies between.
  const bend = to.row > from.row + 1 && x1 === x2 ? -BOX_WIDTH * 0.75 : 0;
  svg(group, 'path', { class: 'edge', 'marker-end': `url(#${lease ? 'tip-frozen' : 'tip'})`,
    d: `M${x1},${y1} C${x1 + bend},${middle} ${x2 + bend},${middle} ${x2},${y2}` });
  // What is gone needs no words, and they would cover those of what took its place.
  if (isGone) return;
  svg(group, 'text', { x: (x1 + x2) / 2 + 10 + bend * 0.75, y: middle + 4,
                       class: lease ? '' : 'small' },
      lease ? `${edge.name}, frozen by ${shortened(lease.id || lease.type, 22)}` : edge.name);
}
function drawNode(root, each, isNew) {
  const { node, isDead, x, y } = each;
  const classes = ['node', node.kind === 'filter' ? 'filter' : '', node.drained ? 'drained' : '',
                   isDead ? 'dead' : '', isNew ? 'new' : ''].filter(Boolean);
  const group = svg(root, 'g', { class: classes.join(' '), 'data-node': node.name });
  svg(group, 'rect', { class: 'box', x, y, rx: 5, width: BOX_WIDTH, height: BOX_HEIGHT });
  svg(group, 'text', { class: 'name', x: x + 10, y: y + 18 }, shortened(node.name, 17));
  const state = isDead ? ', died' : node.drained ? ', drained' : node['read-only'] ? ', ro' : '';
  svg(group, 'text', { class: 'small', x: x + 10, y: y + 34 },
      shortened((node.driver || '') + state, 22));
  if (node.requests > 0 && !isDead) {
    const badge = svg(group, 'g', { class: 'badge' });
    svg(badge, 'rect', { x: x + BOX_WIDTH - 66, y: y - 9, rx: 9, width: 72, height: 18 });
    svg(badge, 'text', { x: x + BOX_WIDTH - 30, y: y + 4, 'text-anchor': 'middle' },
        `${node.requests} in flight`);
  }
  if (isDead) return;
  const users = usersOf(node);
  const shown = users.length > 3 ? [...users.slice(0, 2), `and ${users.length - 2} more`] : users;
  shown.forEach((line, i) => {
    const text = svg(group, 'text', { class: 'small', x: x + BOX_WIDTH + 10,
                                      y: y + 27 + (i - (shown.length - 1) / 2) * 14 },
                     shortened(line, TEXT_MAX));
    svg(text, 'title', {}, users.join('\n'));
  });
}
function drawDefinitions(root) {
  const definitions = svg(root, 'defs', {});
  const hatch = svg(definitions, 'pattern', { id: 'hatch', width: 7, height: 7,
    patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' });
  svg(hatch, 'rect', { width: 7, height: 7, fill: '#fff' });
  svg(hatch, 'rect', { width: 1.5, height: 7, fill: '#c9d0db' });
  for (const [id, color] of [['tip', '#8894a6'], ['tip-frozen', '#0f7f8c']]) {
    const tip = svg(definitions, 'marker', { id, viewBox: '0 0 8 8', refX: 7, refY: 4,
      markerWidth: 8, markerHeight: 8, orient: 'auto', markerUnits: 'userSpaceOnUse' });
    svg(tip, 'path', { d: 'M0,0 L8,4 L0,8 z', fill: color });
  }
}
function drawGraph(root, now, before) {
  root.replaceChildren();
  drawDefinitions(root);
  const known = new Set(before.map((node) => node.id));
  const layout = placed(now, before);
  // Few nodes are not blown up to fill the space.
  const width = Math.max(layout.width, 540), height = Math.max(layout.height, 330);
  root.setAttribute('viewBox',
      `${(layout.width - width) / 2} ${(layout.height - height) / 2 - 8} ${width} ${height}`);
  const ids = new Set(now.map((node) => node.id));
  const previous = new Map(before.map((node) => [node.id, node]));
  for (const each of layout.list) {
    const isGone = (link) => each.isDead || link.to.isDead;
    for (const link of each.below) drawEdge(root, each, link, isGone(link));
    // The link by which a node that died was reached.
    for (const edge of each.isDead ? [] : (previous.get(each.node.id) || {}).edges || []) {
      const to = layout.list.find((one) => one.isDead && one.node.name === edge.child);
      if (to) drawEdge(root, each, { edge, to }, true);
    }
  }
  for (const each of layout.list) {
    drawNode(root, each, ids.has(each.node.id) && before.length > 0 && !known.has(each.node.id));
  }
}
)js";

const char kReplayPageScript[] = R"js(
const data = JSON.parse(document.getElementById('recording').textContent);
const byId = (id) => document.getElementById(id);
const lastStep = Math.max(0, data.steps.length - 1);
const deviationSteps = [...new Set(data.deviations.map((each) => each.step))]
    .sort((a, b) => a - b);
const hasFailed = data.signature !== '';
// Snapshots as lists of nodes; null where the text is something else.
const snapshots = data.graphs.map(parseGraph);
const graphNotes = data.notes.filter((note) => note.graph !== undefined && snapshots[note.graph]);
const graphAt = data.steps.map(() => null);
const notesAt = data.steps.map(() => []);
let current = 0, timer = null;

function element(parent, tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  parent.appendChild(made);
  return made;
}
function indexNotes() {
  let next = 0, latest = null;
  for (let step = 0; step < data.steps.length; ++step) {
    while (next < graphNotes.length && graphNotes[next].step <= step) latest = graphNotes[next++];
    graphAt[step] = latest;
  }
  for (const note of data.notes) {
    if (note.graph === undefined && notesAt[note.step]) notesAt[note.step].push(note);
  }
}
function blockClass(step) {
  return ['block', deviationSteps.includes(step) ? 'deviation' : '',
          hasFailed && step === data.failedStep ? 'failed' : ''].filter(Boolean).join(' ');
}
function buildLanes() {
  const table = element(byId('lanes'), 'table');
  const head = element(element(table, 'thead'), 'tr');
  element(head, 'th', 'number', 'step');
  for (const lane of data.lanes) element(head, 'th', '', lane);
  const body = element(table, 'tbody');
  data.steps.forEach((step, index) => {
    const row = element(body, 'tr', index === deviationSteps[0] ? 'first-deviation' : '');
    row.id = `step-${index}`;
    element(row, 'td', 'number', index);
    data.lanes.forEach((name, lane) => {
      const cell = element(row, 'td');
      if (lane !== step.lane) return;
      const block = element(cell, 'span', blockClass(index), step.text);
      block.title = `${step.party}: ${step.text}`;
      block.addEventListener('click', () => show(index));
    });
  });
}
function buildTrack() {
  const slider = byId('slider');
  slider.max = lastStep;
  slider.addEventListener('input', () => show(Number(slider.value)));
  const mark = (step, kind) => {
    // The thumb's middle runs from 8 px to 8 px before the end.
    const share = lastStep === 0 ? 0 : step / lastStep;
    element(byId('track'), 'span', kind).style.left = `calc(8px + (100% - 16px) * ${share})`;
  };
  for (const step of deviationSteps) mark(step, 'tick');
  if (hasFailed) mark(data.failedStep, 'tick failure');
}
function buildWords() {
  byId('scenario').textContent = data.scenario;
  byId('signature').textContent = hasFailed ? data.signature : 'went well';
  byId('signature').classList.toggle('well', !hasFailed);
  byId('wrong').classList.toggle('well', !hasFailed);
  byId('verdict').textContent = hasFailed ? `What went wrong: ${data.signature}` : 'It went well';
  byId('explanation').textContent = data.explanation;
  byId('failure-text').textContent = data.text +
      (data.isCutOff ? '\n(The run was ended here; what it did last may be missing.)' : '');
  byId('replay').textContent = data.replay;
  const list = byId('deviations');
  for (const each of data.deviations) {
    const item = element(list, 'li');
    element(item, 'b', '', `step ${each.step}`);
    element(item, 'span', '', each.text);
    item.title = `choice ${each.choice}, of ${each.of} options`;
    item.dataset.step = each.step;
    item.addEventListener('click', () => show(each.step));
  }
  if (data.deviations.length === 0) {
    element(list, 'li', '', "Nowhere: production's own order does this.");
  }
  // Where to look first: the failure is often noticed long after.
  const shapeOf = (note) => JSON.stringify(snapshots[note.graph].map(
      (node) => [node.name, (node.edges || []).map((edge) => edge.child)]));
  const changes = graphNotes.filter((note, i) => i > 0 && note.step <= data.failedStep &&
      shapeOf(note) !== shapeOf(graphNotes[i - 1]));
  if (hasFailed && changes.length > 0) {
    const { step } = changes[changes.length - 1];
    const item = element(list, 'li');
    element(item, 'b', '', `step ${step}`);
    element(item, 'span', '', 'nodes or links change for the last time before the failure');
    item.dataset.step = step;
    item.addEventListener('click', () => show(step));
  }
}
function line(kind, text, className) {
  const paragraph = element(byId('now'), 'p', className);
  element(paragraph, 'span', 'kind', kind);
  element(paragraph, 'span', '', text);
}
function showWords(step) {
  byId('now').replaceChildren();
  line('runs', `${step.party}: ${step.text}`);
  for (const each of data.deviations.filter((one) => one.step === current)) {
    line('deviates', each.text, 'deviation');
  }
  for (const note of notesAt[current]) {
    line(note.kind, note.object + (note.text ? `: ${note.text}` : ''),
         note.kind === 'failure' ? 'failure' : '');
  }
  if (hasFailed && current === data.failedStep && notesAt[current].every(
      (note) => note.kind !== 'failure')) {
    line('failure', `${data.signature}: ${data.text.split('\n')[0]}`, 'failure');
  }
}
function showGraph() {
  const now = graphAt[current];
  const before = current > 0 ? graphAt[current - 1] : now;
  byId('empty').hidden = graphNotes.length > 0;
  byId('graph').style.display = byId('legend').style.display = graphNotes.length > 0 ? '' : 'none';
  byId('chain').textContent = now ? now.object : '';
  drawGraph(byId('graph'), now ? snapshots[now.graph] : [],
            before ? snapshots[before.graph] : []);
}
function showLanes() {
  document.querySelectorAll('#lanes tbody tr').forEach((row, index) => {
    row.classList.toggle('future', index > current);
    row.classList.toggle('current', index === current);
  });
  document.querySelectorAll('.block.current').forEach((block) => block.classList.remove('current'));
  const row = byId(`step-${current}`), box = byId('lanes');
  row.querySelector('.block').classList.add('current');
  box.scrollTop = row.offsetTop - box.clientHeight / 2;
  for (const item of byId('deviations').children) {
    item.classList.toggle('current', Number(item.dataset.step) === current);
  }
}
function show(step) {
  if (data.steps.length === 0) return;
  current = Math.min(lastStep, Math.max(0, step));
  document.body.dataset.step = current;
  byId('slider').value = current;
  const where = byId('where');
  where.replaceChildren();
  element(where, 'b', '', `step ${current}`);
  element(where, 'span', '', ` of ${lastStep} \u00b7 ${data.steps[current].time}`);
  byId('first').disabled = byId('back').disabled = current === 0;
  byId('last').disabled = byId('forward').disabled = current === lastStep;
  byId('previous-deviation').disabled = !deviationSteps.some((each) => each < current);
  byId('next-deviation').disabled = !deviationSteps.some((each) => each > current);
  byId('to-failure').disabled = !hasFailed;
  showWords(data.steps[current]);
  showGraph();
  showLanes();
  try {
    history.replaceState(null, '', `#step=${current}`);
  } catch (error) {
    // A page that was not loaded from a place of its own has no address to change.
  }
}
function stopPlaying() {
  clearInterval(timer);
  timer = null;
  byId('play').textContent = 'play';
}
function togglePlaying() {
  if (timer !== null) { stopPlaying(); return; }
  if (current === lastStep) show(0);
  byId('play').textContent = 'pause';
  timer = setInterval(() => current < lastStep ? show(current + 1) : stopPlaying(), 400);
}
const toDeviation = (isForward) => {
  const steps = isForward ? deviationSteps : [...deviationSteps].reverse();
  const found = steps.find((each) => isForward ? each > current : each < current);
  if (found !== undefined) show(found);
};
const actions = {
  first: () => show(0), last: () => show(lastStep), back: () => show(current - 1),
  forward: () => show(current + 1), play: togglePlaying,
  'previous-deviation': () => toDeviation(false), 'next-deviation': () => toDeviation(true),
  'to-failure': () => { if (hasFailed) show(data.failedStep); },
};
const keys = { ArrowLeft: 'back', ArrowUp: 'back', ArrowRight: 'forward', ArrowDown: 'forward',
               Home: 'first', End: 'last', ' ': 'play', p: 'previous-deviation',
               n: 'next-deviation', f: 'to-failure' };
function stepOfFragment() {
  const match = /^#step=(\d+)$/.exec(location.hash);
  return match ? Number(match[1]) : null;
}
for (const [id, action] of Object.entries(actions)) byId(id).addEventListener('click', action);
document.addEventListener('keydown', (event) => {
  const id = keys[event.key];
  if (!id || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  actions[id]();
});
window.addEventListener('hashchange', () => {
  if (stepOfFragment() !== null) show(stepOfFragment());
});
indexNotes();
buildLanes();
buildTrack();
buildWords();
show(stepOfFragment() ?? deviationSteps[0] ?? (hasFailed ? data.failedStep : 0));
)js";

}  // namespace millrace
