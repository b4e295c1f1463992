#include "millrace/engine/explore/replay_page_parts.h"

namespace millrace {

const char kReplayPageScript[] = R"js(
// ---- The page -----------------------------------------------------------------------------------
const byId = (id) => document.getElementById(id);
// What the failure names: red where it fails, and outlined from where the bug acts.
const blamed = blamedBy(data.text);
const NOBODY = { names: new Set(), links: new Set() };
const suspectSince = bugPlace ? bugPlace.step.index : Infinity;
const isFailed = (step) => hasFailed && step.index >= data.failedStep;
const blamedAt = (step) => isFailed(step) ? blamed : NOBODY;
const suspectsAt = (step) => !isFailed(step) && hasFailed && step.index >= suspectSince ? blamed
                                                                                       : NOBODY;
const folds = foldsOf();
const hasTime = lastTime > 0;
const momentSteps = moments.map((moment) => moment.step);
let layout = null, current = 0, timer = null;

function element(parent, tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  parent.appendChild(made);
  return made;
}
// ---- Lanes --------------------------------------------------------------------------------------
function blockClass(step) {
  const moment = momentAt.get(step.index);
  return classes('block', deviationSteps.includes(step.index) && 'deviation',
                 moment && moment.kinds.includes('stale') && 'stale',
                 moment && moment.kinds.includes('bug') && 'bug',
                 step.weight >= 2 && 'telling', hasFailed && step.index === data.failedStep && 'failed');
}
// A time where it moves.
const timeText = (step) => step.jump > 0 || step.index === 0 ? durationText(step.ns) : '';
function buildRow(body, step) {
  const row = element(body, 'tr', classes('step', step.index === deviationSteps[0] &&
                                                  'first-deviation',
                                          momentAt.has(step.index) && 'moment'));
  row.id = `step-${step.index}`;
  element(row, 'td', 'number', step.index);
  if (hasTime) element(row, 'td', 'time', timeText(step));
  laneNames.forEach((name, lane) => {
    const cell = element(row, 'td');
    if (lane !== laneIndex[step.lane]) return;
    const copy = copyOf(step);
    const block = element(cell, 'span', blockClass(step), (copy ? `${copy} ` : '') + briefOf(step));
    block.title = `${step.party}, ${causeOf(step)}`;
    block.addEventListener('click', () => show(step.index));
  });
}
function buildFold(table, fold) {
  const body = element(table, 'tbody', fold.isFolded ? 'fold' : '');
  if (fold.isFolded) {
    const row = element(body, 'tr', 'fold-head');
    element(row, 'td', 'number', `${fold.first}\u2013${fold.last}`);
    const cell = element(row, 'td');
    cell.colSpan = laneNames.length + (hasTime ? 1 : 0);
    const lanes = new Set(steps.slice(fold.first, fold.last + 1).map(laneOf));
    element(cell, 'span', 'fold-words',
            `${fold.last - fold.first + 1} steps in the background: ${[...lanes].join(', ')}`);
    row.addEventListener('click', () => body.classList.toggle('open'));
  }
  for (const step of steps.slice(fold.first, fold.last + 1)) buildRow(body, step);
  fold.body = body;
}
function buildLanes() {
  const table = element(byId('lanes'), 'table');
  const head = element(element(table, 'thead'), 'tr');
  element(head, 'th', 'number', 'step');
  if (hasTime) element(head, 'th', 'time', 'time');
  for (const lane of laneNames) element(head, 'th', '', lane);
  for (const fold of folds) buildFold(table, fold);
}
function showLanes() {
  document.querySelectorAll('#lanes tr.step').forEach((row, index) => {
    row.classList.toggle('future', index > current);
    row.classList.toggle('current', index === current);
  });
  document.querySelectorAll('.block.current').forEach((block) => block.classList.remove('current'));
  for (const fold of folds) {
    fold.body.classList.toggle('here', fold.first <= current && current <= fold.last);
  }
  const row = byId(`step-${current}`), box = byId('lanes'), block = row.querySelector('.block');
  block.classList.add('current');
  const middle = (low, size, room) => low + size / 2 - room / 2;
  const top = block.getBoundingClientRect(), frame = box.getBoundingClientRect();
  box.scrollTop += middle(top.top - frame.top, top.height, box.clientHeight);
  // Sideways only if it is out of sight, or below the column of numbers.
  const numbers = row.firstChild.offsetWidth + (hasTime ? row.children[1].offsetWidth : 0);
  const left = top.left - frame.left, right = top.right - frame.left;
  if (left < numbers || right > box.clientWidth) {
    box.scrollLeft += middle(left, top.width, box.clientWidth + numbers);
  }
}

// ---- Slider, words, moments ---------------------------------------------------------------------
function buildTrack() {
  const slider = byId('slider');
  slider.max = lastStep;
  slider.addEventListener('input', () => show(Number(slider.value)));
  for (const moment of moments) {
    const tick = element(byId('track'), 'span', `tick ${moment.kinds.join(' ')}`);
    tick.title = moment.text;
  }
}
// Beside each other, also where moments are close.
function placeTicks() {
  const ticks = [...byId('track').querySelectorAll('.tick')];
  const room = byId('track').clientWidth - 16, pitch = 6;
  // The thumb's middle runs from 8 px to 8 px before the end.
  const at = moments.map((moment) => 8 + (lastStep === 0 ? 0 : room * moment.step / lastStep));
  for (let i = 1; i < at.length; ++i) at[i] = Math.max(at[i], at[i - 1] + pitch);
  for (let i = at.length - 1; i >= 0; --i) {
    at[i] = Math.min(at[i], i === at.length - 1 ? room + 8 : at[i + 1] - pitch);
  }
  ticks.forEach((tick, i) => { tick.style.left = `${at[i]}px`; });
}
function buildMoments() {
  const list = byId('moments');
  let shownTime = null;
  for (const moment of moments) {
    const button = element(list, 'button', `moment ${moment.kinds.join(' ')}`);
    element(button, 'b', '', moment.step);
    const time = durationText(steps[moment.step].ns);
    if (hasTime) element(button, 'i', '', time === shownTime ? '' : time);
    shownTime = time;
    element(button, 'span', '', moment.text);
    button.title = moment.text;
    button.dataset.step = moment.step;
    button.addEventListener('click', () => show(moment.step));
  }
  byId('why').hidden = moments.length === 0;
  byId('orders').hidden = data.deviations.length === 0;
  byId('orders-head').textContent = `Where the order is not production's (${data.deviations.length})`;
  for (const each of data.deviations) {
    const item = element(byId('deviations'), 'li');
    element(item, 'b', '', `step ${each.step}`);
    element(item, 'span', '', each.text);
    item.title = `choice ${each.choice}, of ${each.of} options`;
    item.addEventListener('click', () => show(each.step));
  }
}
// "The scene: stream 's' ..." as a label and the rest.
function addParagraph(parent, text) {
  const match = /^([A-Z][^:\n]{2,40}): ([\s\S]*)$/.exec(text);
  const row = element(parent, 'p');
  if (match) element(row, 'b', '', match[1]);
  element(row, 'span', '', match ? match[2] : text);
}
const RAW_MAX = 24;
function buildVerdict() {
  const noted = data.notes.some((note) => note.kind === 'failure');
  byId('signature').textContent = !hasFailed ? 'went well'
      : data.signature.length > RAW_MAX ? 'a check failed' : data.signature;
  byId('signature').classList.toggle('well', !hasFailed);
  byId('wrong').classList.toggle('well', !hasFailed);
  byId('verdict').textContent = hasFailed ? 'What went wrong' : 'It went well';
  byId('plain').textContent = data.verdict;
  byId('failure-text').textContent = (hasFailed && data.signature.length <= RAW_MAX
      ? `${data.signature}: ` : '') + data.text.trim() +
      (data.isCutOff && !noted ? '\n(The process ended here; what it did last may be missing.)' : '');
  byId('arrows').hidden = !data.text.includes(' <- ');
}
function buildWords() {
  byId('scenario').textContent = data.scenario;
  buildVerdict();
  const [first, ...others] = data.explanation.split('\n').filter(Boolean);
  if (first) addParagraph(byId('explanation'), first);
  for (const paragraph of others) addParagraph(byId('background-text'), paragraph);
  byId('background').hidden = others.length === 0;
  byId('background').open = window.innerHeight >= 880 && window.innerWidth >= 1200;
  byId('replay').textContent = data.replay;
  byId('again').hidden = data.replay === '';
  byId('replay-note').hidden = data.deviations.length > 0 || !/--\w+=-(\s|$)/.test(data.replay);
  for (const { word, meaning } of data.words) {
    element(byId('glossary').lastElementChild, 'dt', '', word);
    element(byId('glossary').lastElementChild, 'dd', '', meaning);
  }
  const used = (test) => graphs.some(test);
  const some = (test) => used((graph) => graph.nodes.some(test));
  const pending = (graph) => (graph.sections || []).some((section) => !section.granted);
  const shown = { frozen: some((node) => (node.edges || []).some((edge) => edge.lease)),
                  drained: some((node) => node.drained), draining: used(pending),
                  filter: some((n) => n.kind === 'filter'),
                  flight: some((node) => node.requests > 0), bad: hasFailed,
                  suspect: hasFailed && suspectSince < data.failedStep };
  for (const [name, isShown] of Object.entries(shown)) byId(`l-${name}`).hidden = !isShown;
}

// ---- The step -----------------------------------------------------------------------------------
// What a step did: { rank, kind, text, style }, what matters most first.
function linesOf(step) {
  const lines = [];
  const add = (rank, kind, text, style) => lines.push({ rank, kind, text, style });
  const isFailure = hasFailed && step.index === data.failedStep;
  if (isFailure) add(0, 'failure', `it fails: ${plainVerdict}`, 'failure');
  for (const note of step.told) {
    const text = note.object + (note.text ? `${note.kind === 'act' ? ' ' : ': '}${note.text}` : '');
    if (note.kind === 'bug') add(2, 'bug', text, 'bug');
    else if (note.kind === 'act') add(4, 'act', text, 'act');
    else if (note.kind === 'data') add(6, 'guest', text, 'telling');
    else if (!['failure', 'io', 'fault'].includes(note.kind)) add(7, note.kind, text, note.kind);
  }
  for (const each of step.operations) {
    if (each.isFault) add(3, 'fault', endingText(each), 'failure');
    else if (each.begins) add(9, 'i/o', `begins: ${deedText(each)}`, '');
  }
  if (step.jump > 0) {
    add(step.jump >= JUMP_MIN ? 4 : 9, 'time',
        `${durationText(step.jump)} pass, it is now ${durationText(step.ns)}`, 'telling');
  }
  for (const change of step.changes) {
    add(change.isStale ? 1 : change.weight >= 1 ? 5 : 10, change.isStale ? 'wrong' : 'changes',
        change.text, classes('change', change.weight >= 5 ? 'failure'
                                       : change.weight >= 2 && 'telling'));
  }
  for (const each of data.deviations.filter((one) => one.step === step.index)) {
    add(8, 'order', each.text, 'deviation');
  }
  return lines.sort((a, b) => a.rank - b.rank);
}
function showWords(step) {
  byId('now').replaceChildren();
  const line = (kind, text, style) => {
    const paragraph = element(byId('now'), 'p', style);
    element(paragraph, 'span', 'kind', kind);
    element(paragraph, 'span', '', text);
  };
  const copy = copyOf(step);
  line('runs', `${laneOf(step)}${copy ? ` ${copy}` : ''}, ${causeOf(step)}` +
               (hasTime ? ` \u00b7 at ${durationText(step.ns)}` : ''), '');
  const lines = linesOf(step);
  for (const each of lines) line(each.kind, each.text, each.style);
  // Of a disk's step the first line says it all.
  if (lines.length === 0 && step.operations.length === 0) line('changes', 'nothing', 'quiet');
  byId('now').scrollTop = 0;
}
function showJobs(step) {
  byId('jobs').replaceChildren();
  const add = (id, words, kind) => {
    const chip = element(byId('jobs'), 'span',
                         classes('job', kind, blamedAt(step).names.has(id) && 'blamed',
                                 suspectsAt(step).names.has(id) && 'suspect'));
    chip.dataset.job = id;
    element(chip, 'b', '', id);
    element(chip, 'span', '', words);
  };
  const old = new Map(step.jobsBefore.map((job) => [job.id, job]));
  for (const job of step.jobs) {
    const was = old.get(job.id);
    const isFresh = step.index > 0 && (!was || was.state !== job.state);
    add(job.id, `${job.type} \u00b7 ${was && isFresh ? `${was.state} ${ARROW} ` : ''}${job.state}` +
                (job.held > 0 ? ', held by a drain' : ''),
        classes(isFresh && 'fresh', isOver(job) && 'over'));
  }
  const listed = new Set(step.jobs.map((job) => job.id));
  for (const id of step.over) {
    if (!listed.has(id)) add(id, 'over', classes('over', old.has(id) && 'fresh'));
  }
}
function showGraph(step) {
  const hasPicture = graphs.length > 0;
  byId('empty').hidden = hasPicture;
  byId('canvas').style.display = byId('legend').style.display = hasPicture ? '' : 'none';
  showJobs(step);
  const changed = { links: new Set(), nodes: new Set() };
  for (const change of step.changes) {
    for (const link of change.links || []) changed.links.add(link);
    for (const node of change.nodes || []) changed.nodes.add(node);
  }
  const wrong = isFailed(step) ? forgottenDrains(step)
      : (step.graph || NOTHING).sections.filter((section) => section.owners.some(
            (owner) => /\bjob$/.test(owner.type) && step.over.has(owner.id)));
  drawGraph(byId('graph'), {
    now: step.graph || NOTHING, before: step.before || NOTHING, layout, changed,
    blamed: blamedAt(step), suspects: suspectsAt(step),
    isStale: (holder) => /\bjob$/.test(holder.type) && step.over.has(holder.id),
    staleDrains: new Set(wrong.map(drainKey)),
    markOf: (name) => (landings.filter((each) => each.node === name && each.step <= step.index)
        .pop() || {}).text });
  const telling = byId('graph').querySelector('.blamed, .changed, .new');
  if (telling) telling.scrollIntoView({ block: 'nearest', inline: 'nearest' });
}
function setLayout() {
  const box = byId('canvas');
  layout = layoutOf(graphs, new Set(landings.map((each) => each.node)),
                    { width: Math.max(box.clientWidth - 4, 200),
                      height: Math.max(box.clientHeight - 4, 120) });
}
function showMoments() {
  for (const button of byId('moments').children) {
    const isCurrent = Number(button.dataset.step) === current;
    button.classList.toggle('current', isCurrent);
    if (isCurrent) button.scrollIntoView({ block: 'nearest' });
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
  element(where, 'span', '', ` of ${lastStep}` +
                             (hasTime ? ` \u00b7 ${durationText(steps[current].ns)}` : ''));
  byId('first').disabled = byId('back').disabled = current === 0;
  byId('last').disabled = byId('forward').disabled = current === lastStep;
  byId('previous-moment').disabled = !momentSteps.some((each) => each < current);
  byId('next-moment').disabled = !momentSteps.some((each) => each > current);
  byId('to-failure').disabled = !hasFailed;
  showWords(steps[current]);
  showGraph(steps[current]);
  showMoments();
  showLanes();
  try {
    history.replaceState(null, '', `#step=${current}`);
  } catch (error) {
    // A page that was not loaded from a place of its own has no address to change.
  }
}

// ---- Moving -------------------------------------------------------------------------------------
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
const toMoment = (isForward) => {
  const sorted = isForward ? momentSteps : [...momentSteps].reverse();
  const found = sorted.find((each) => isForward ? each > current : each < current);
  if (found !== undefined) show(found);
};
const actions = {
  first: () => show(0), last: () => show(lastStep), back: () => show(current - 1),
  forward: () => show(current + 1), play: togglePlaying,
  'previous-moment': () => toMoment(false), 'next-moment': () => toMoment(true),
  'to-failure': () => { if (hasFailed) show(data.failedStep); },
};
const keys = { ArrowLeft: 'back', ArrowUp: 'back', ArrowRight: 'forward', ArrowDown: 'forward',
               Home: 'first', End: 'last', ' ': 'play', p: 'previous-moment', n: 'next-moment',
               f: 'to-failure' };
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
window.addEventListener('resize', () => {
  setLayout();
  placeTicks();
  show(current);
});
buildLanes();
buildTrack();
buildMoments();
buildWords();
setLayout();
placeTicks();
show(stepOfFragment() ?? openingStep());
)js";

}  // namespace millrace
