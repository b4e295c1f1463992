#include "millrace/engine/explore/replay_page_parts.h"

namespace millrace {

const char kReplayPageMomentsScript[] = R"js(
// ---- The recording, read ------------------------------------------------------------------------
const data = JSON.parse(document.getElementById('recording').textContent);
const lastStep = Math.max(0, data.steps.length - 1);
const hasFailed = data.signature !== '';
const deviationSteps = [...new Set(data.deviations.map((each) => each.step))]
    .sort((a, b) => a - b);
const MOMENTS_MAX = 11, ACTS_MAX = 5, DEVIATIONS_MAX = 6;
const NOTHING = { nodes: [], sections: [] };

// For each step the latest snapshot, what happened, and what changed.
function readSteps() {
  const snapshots = data.snapshots.map(parseSnapshot);
  const notesAt = data.steps.map(() => []);
  for (const note of data.notes) if (notesAt[note.step]) notesAt[note.step].push(note);
  const watch = new Watch();
  const graphs = [];
  let graph = null, jobs = [], hasJobs = false;
  const steps = data.steps.map((step, index) => {
    const told = [], changes = [];
    const before = graph, jobsBefore = jobs;
    for (const note of notesAt[index]) {
      const snapshot = note.snapshot === undefined ? null : snapshots[note.snapshot];
      if (note.snapshot === undefined) told.push(note);
      if (snapshot && note.kind === 'graph') graph = snapshot;
      if (snapshot && note.kind === 'jobs') {
        jobs = snapshot.jobs;
        hasJobs = true;
      }
    }
    if (graph && graph !== before) {
      graphs.push(graph);
      changes.push(...graphChanges(before || graph, graph));
    }
    if (jobs !== jobsBefore) changes.push(...jobChanges(jobsBefore, jobs));
    changes.push(...watch.look(index, graph, jobs));
    changes.sort((a, b) => b.weight - a.weight);
    const over = new Set([...watch.jobs].filter((entry) => entry[1]).map((entry) => entry[0]));
    return { ...step, index, told, changes, graph, before: before || graph, jobs, jobsBefore, over,
             weight: Math.max(0, ...changes.map((change) => change.weight)) };
  });
  return { steps, graphs, hasJobs };
}
const { steps, graphs, hasJobs } = readSteps();
const actsOf = (step) => step.told.filter((note) => note.kind === 'act');
const bugNote = (step) => step.told.find((note) => note.kind === 'bug');

// ---- In words -----------------------------------------------------------------------------------
// Why a party runs, in one grammar.
function causeOf(step) {
  if (step.kind === 'coroutine') {
    return step.from === 'start' || step.from === '' ? 'starts' : `woken from: ${step.from}`;
  }
  return step.kind === 'timer' ? `fires: ${step.party}`
      : `done: ${step.party}${step.from && step.from !== step.party ? ` (${step.from})` : ''}`;
}
const laneOf = (step) => data.lanes[step.lane];
function briefOf(step) {
  const act = actsOf(step)[0];
  if (act) return act.object === 'user' ? act.text : `${act.object} ${act.text}`;
  const change = step.changes.find((each) => each.weight >= 1 && each.brief);
  return change ? change.brief : causeOf(step);
}
// What happened in a step, the weightiest first.
function sentenceOf(step, most) {
  const acts = actsOf(step).map((act) => `${act.object} ${act.text}`);
  const changes = step.changes.filter((change) => change.weight >= Math.min(2, step.weight) &&
                                                  change.weight > 0);
  // "c: c freezes" says it twice.
  const lane = laneOf(step);
  const words = changes.slice(0, most).map(({ text }) => [`${lane} `, `${lane}: `].reduce(
      (rest, own) => rest.startsWith(own) ? rest.slice(own.length) : rest, text));
  const more = changes.length - words.length;
  if (more > 0) words.push(`and ${more} more`);
  const parts = [...acts];
  if (words.length > 0) parts.push(`${lane}: ${words.join('; ')}`);
  return parts.join('; ');
}

// ---- Moments ------------------------------------------------------------------------------------
// The steps that matter: { step, kinds, text, score }. What should never be counts most, then the
// place of the bug, then whatever changed last before the failure.
function bugMoments(add, end) {
  const hits = steps.filter((step) => step.index <= end && bugNote(step));
  if (hits.length === 0) return;
  const note = (step) => `${bugNote(step).object} (${bugNote(step).text})`;
  const times = hits.length > 2 ? `, ${hits.length} times in all` : '';
  add(hits[0], 'bug', note(hits[0]) + times, 85);
  if (hits.length > 1) {
    const last = hits[hits.length - 1];
    add(last, 'bug', `${note(last)}, for the last time before the failure`, 80);
  }
}
function orderMoments(add) {
  for (const index of deviationSteps.slice(0, DEVIATIONS_MAX)) {
    const texts = data.deviations.filter((each) => each.step === index).map((each) => each.text);
    add(steps[index], 'order', `another order than in production: ${texts.join('; ')}`, 70);
  }
}
// What comes before the first thing that should not be led to it; what comes after follows from it.
function changeMoments(add, end) {
  const stale = steps.find((step) => step.index <= end && step.weight >= 5);
  const goal = stale ? stale.index : end;
  const recency = ({ index }) => index > goal ? -12 : goal === 0 ? 0 : 24 * (index / goal) ** 3;
  for (const step of steps.slice(0, end + 1)) {
    // What is there at first has not changed.
    if (step.weight < 2 || step.before === step.graph && step.jobs === step.jobsBefore &&
        step.weight < 5) continue;
    const isStale = step.weight >= 5;
    add(step, isStale ? 'stale' : 'change', '', isStale ? 90 : 10 * step.weight + recency(step));
  }
  const acts = steps.slice(0, end + 1).filter((step) => actsOf(step).length > 0);
  for (const step of acts.slice(-ACTS_MAX)) add(step, 'act', '', 46 + recency(step));
}
function momentsOf() {
  const end = hasFailed ? data.failedStep : lastStep;
  const moments = new Map();
  const add = (step, kind, text, score) => {
    if (!step) return;
    if (!moments.has(step.index)) {
      moments.set(step.index, { step: step.index, kinds: [], texts: [], score: 0 });
    }
    const moment = moments.get(step.index);
    moment.kinds.push(kind);
    if (text) moment.texts.push(text);
    moment.score = Math.max(moment.score, score);
  };
  if (steps.length === 0) return [];
  if (hasFailed) add(steps[end], 'failure', `it fails: ${data.text.split('\n')[0]}`, 100);
  bugMoments(add, end);
  orderMoments(add);
  changeMoments(add, end);
  const best = [...moments.values()].sort((a, b) => b.score - a.score).slice(0, MOMENTS_MAX);
  return best.sort((a, b) => a.step - b.step).map((moment) => ({
    ...moment, text: [sentenceOf(steps[moment.step], 3), ...moment.texts].filter(Boolean)
        .join('; ') }));
}
const moments = momentsOf();
const momentAt = new Map(moments.map((moment) => [moment.step, moment]));
// Where to begin: the first thing that should not be, else the place of the bug, else the failure.
function openingStep() {
  for (const kind of ['stale', 'order', 'bug', 'failure']) {
    const moment = moments.find((each) => each.kinds.includes(kind));
    if (moment) return moment.step;
  }
  return 0;
}

// ---- Steps in the background --------------------------------------------------------------------
const FOLD_MIN = 4;
const isBackground = (step) => step.weight < 2 && step.told.length === 0 &&
    !momentAt.has(step.index) && !deviationSteps.includes(step.index) && step.index !== 0 &&
    step.index !== lastStep && !(hasFailed && step.index === data.failedStep);
// Consecutive steps: { first, last, isFolded }.
function foldsOf() {
  const folds = [];
  for (const step of steps) {
    const isFolded = isBackground(step);
    const latest = folds[folds.length - 1];
    if (latest && latest.isFolded === isFolded) {
      latest.last = step.index;
    } else {
      folds.push({ first: step.index, last: step.index, isFolded });
    }
  }
  for (const fold of folds) {
    if (fold.last - fold.first + 1 < FOLD_MIN) fold.isFolded = false;
  }
  return folds;
}
)js";

}  // namespace millrace
