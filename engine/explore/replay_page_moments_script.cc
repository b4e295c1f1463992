#include "millrace/engine/explore/replay_page_parts.h"

namespace millrace {

const char kReplayPageMomentsScript[] = R"js(
// ---- Moments ------------------------------------------------------------------------------------
// The steps that matter: { step, kinds, text, score }. What should never be counts most, then the
// place of the bug, then whatever changed last before the failure.
const goalOf = (end) => (steps.find((step) => step.index <= end && step.weight >= 5) ||
                         { index: end }).index;
// The place of the bug is where it acts for the last time before things go wrong: where it was
// asked before, it may have done no harm. But of equal acts, one after the other, the first led to
// the rest. { step, times, before } of these; null if it never acts.
function placeOfBug() {
  const end = hasFailed ? data.failedStep : lastStep;
  const hits = steps.filter((step) => step.index <= end && bugNote(step));
  if (hits.length === 0) return null;
  const deed = (step) => [laneOf(step), ...actsOf(step).map((act) => act.text), ...begunText(step),
      ...step.changes.filter((each) => each.weight >= 2).map((each) => each.text)].join('; ');
  const last = Math.max(0, hits.filter((step) => step.index <= goalOf(end)).length - 1);
  let first = last;
  while (first > 0 && deed(hits[first - 1]) === deed(hits[last])) --first;
  return { step: hits[first], times: last - first + 1, before: hits.slice(0, first) };
}
const bugPlace = placeOfBug();
function bugMoments(add) {
  if (!bugPlace) return;
  const tell = (step, times, score) => {
    const { object, text } = bugNote(step);
    const which = times > 1 ? `, the first of ${times} times` : '';
    add(step, 'bug', `here ${object}${which}${text ? `: ${text}` : ''}`, score);
  };
  tell(bugPlace.step, bugPlace.times, 87);
  if (bugPlace.before.length > 0) tell(bugPlace.before[0], bugPlace.before.length, 85);
}
// How what the failure is about came to the disks: who wrote it, where it landed last.
function dataMoments(add, end) {
  for (const sector of blamedSectors.slice(0, 1)) {
    for (const step of steps.slice(0, end + 1)) {
      const notes = dataNotes(step).filter((note) => missedVersion !== undefined &&
          note.text.includes(`(version ${missedVersion})`));
      if (notes.length > 0) {
        const who = laneOf(step);
        add(step, 'data', `${who}: ${notes.map((note) => note.text).join('; ')}`, 75);
      }
    }
    const landings = steps.slice(0, end + 1).filter((step) => step.operations.some(
        (each) => !each.begins && changesData(each) && touches(each, sector)));
    for (const step of landings.slice(-LANDINGS_MAX)) {
      add(step, 'data', step.operations.filter((each) => !each.begins).map(endingText).join('; '), 72);
    }
  }
}
function faultMoments(add, end) {
  const failed = steps.slice(0, end + 1).filter(
      (step) => step.operations.some((each) => each.isFault));
  for (const step of failed.slice(0, FAULTS_MAX)) {
    const faults = step.operations.filter((each) => each.isFault);
    const jobsOf = (name) => [...new Set(((step.graph || NOTHING).nodes.find(
        (node) => node.name === name) || { users: [] }).users.map((user) => user.holder)
        .filter((holder) => /\bjob$/.test(holder.type)).map(nameOf))];
    add(step, 'fault', faults.map((each) => {
      const jobs = jobsOf(each.object);
      const ending = endingText(jobs.includes(each.by) ? { ...each, by: '' } : each);
      return jobs.length > 0 ? `${ending} ${ARROW} ${jobs.join(', ')}` : ending;
    }).join('; '), 65);
  }
}
// Where much time passes at once, and who has slept.
function timeMoments(add, end) {
  const jumps = steps.slice(1, end + 1).filter(
      (step) => step.jump >= JUMP_MIN && step.jump >= lastTime / 100);
  jumps.sort((a, b) => b.jump - a.jump);
  for (const step of jumps.slice(0, JUMPS_MAX)) {
    const next = steps[step.index + 1];
    const sleeper = step.kind === 'timer' && next && next.from === step.party
        ? `: ${laneOf(next)} has slept (${step.party})` : '';
    add(step, 'time', `${durationText(step.jump)} pass${sleeper}`, 68);
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
  const goal = goalOf(end);
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
  if (hasFailed) add(steps[end], 'failure', `it fails: ${plainVerdict.replace(/\.$/, '')}`, 100);
  bugMoments(add);
  dataMoments(add, end);
  faultMoments(add, end);
  timeMoments(add, end);
  orderMoments(add);
  changeMoments(add, end);
  const best = [...moments.values()].sort((a, b) => b.score - a.score).slice(0, MOMENTS_MAX);
  const deed = ({ step, kinds }) => kinds.includes('bug') ? deedOf(steps[step])
                                                          : sentenceOf(steps[step], 3);
  return best.sort((a, b) => a.step - b.step).map((moment) => ({
    ...moment, text: [deed(moment), ...moment.texts].filter(Boolean).join('; ') }));
}
const moments = momentsOf();
const momentAt = new Map(moments.map((moment) => [moment.step, moment]));
// Where to begin: at the place of the bug, else at the first thing that should not be, else where
// the order is not production's, else at the failure.
function openingStep() {
  if (bugPlace) return bugPlace.step.index;
  for (const kind of ['stale', 'order', 'failure']) {
    const moment = moments.find((each) => each.kinds.includes(kind));
    if (moment) return moment.step;
  }
  return 0;
}

// Whoever acts where the page opens stands first, then who acts in most moments: those who race are
// side by side.
function sortLanes() {
  const count = new Map(laneNames.map((name) => [name, 0]));
  for (const moment of moments) {
    const name = laneOf(steps[moment.step]);
    count.set(name, count.get(name) + 1);
  }
  if (moments.length > 0) count.set(laneOf(steps[openingStep()]), steps.length);
  const sorted = [...laneNames].sort((a, b) => count.get(b) - count.get(a));
  laneIndex = laneIndex.map((index) => sorted.indexOf(laneNames[index]));
  laneNames = sorted;
}
sortLanes();

// ---- Steps in the background --------------------------------------------------------------------
const FOLD_MIN = 4;
const TELLING = ['act', 'bug', 'failure', 'fault'];
const isBackground = (step) => step.weight < 2 &&
    step.told.every((note) => !TELLING.includes(note.kind)) &&
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
