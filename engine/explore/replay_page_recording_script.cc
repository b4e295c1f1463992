#include "millrace/engine/explore/replay_page_parts.h"

namespace millrace {

const char kReplayPageRecordingScript[] = R"js(
// ---- The recording, read ------------------------------------------------------------------------
const data = JSON.parse(document.getElementById('recording').textContent);
const lastStep = Math.max(0, data.steps.length - 1);
const hasFailed = data.signature !== '';
const deviationSteps = [...new Set(data.deviations.map((each) => each.step))]
    .sort((a, b) => a - b);
const MOMENTS_MAX = 12, ACTS_MAX = 5, DEVIATIONS_MAX = 6, FAULTS_MAX = 3, JUMPS_MAX = 3;
const JUMP_MIN = 100e6;  // nanoseconds
const LANDINGS_MAX = 4, SECTOR_BYTES = 512;
const NOTHING = { nodes: [], sections: [] };
const lastTime = data.steps.length === 0 ? 0 : data.steps[lastStep].ns;
const timeBefore = (index) => index === 0 ? 0 : data.steps[index - 1].ns;
const plainVerdict = data.verdict || data.text.split('\n')[0];

// "51.2 s", "0.25 ms".
function durationText(ns) {
  return ns >= 1e9 ? `${+(ns / 1e9).toFixed(3)} s` : `${+(ns / 1e6).toFixed(3)} ms`;
}

// ---- Data and disks -----------------------------------------------------------------------------
// "write 't' at 1024, 512 bytes: done (#17)" as an operation: { number, deed, object, how,
// sectors: [first, last] }.
function operationOf(note) {
  const match = /^(.*?) '(.*)'(?: at (\d+), (\d+) bytes)?: (.*) \(#(\d+)\)$/.exec(note.text);
  if (!match) return null;
  const [, deed, object, offset, bytes, how, number] = match;
  const sectors = offset === undefined ? null
      : [Math.floor(offset / SECTOR_BYTES), Math.ceil((+offset + +bytes) / SECTOR_BYTES) - 1];
  return { number, deed, object, how, sectors, isFault: note.kind === 'fault',
           begins: how === 'begins' };
}
const sectorsText = ([first, last]) => first === last ? `sector ${first}`
                                                      : `sectors ${first}-${last}`;
function deedText({ deed, object, sectors }) {
  return sectors ? `${deed} ${sectorsText(sectors)} of ${object}` : `${deed} ${object}`;
}
const touches = (operation, sector) => operation.sectors !== null &&
    operation.sectors[0] <= sector && sector <= operation.sectors[1];
const changesData = (operation) => /^(write|discard)/.test(operation.deed) &&
                                   operation.deed !== 'write header of';
// The sectors that the failure is about, and the version that is missed.
const blamedSectors = [...data.text.matchAll(/\bsector (\d+)/g)].map((match) => Number(match[1]));
const missedVersion = (/\bexpected (\d+)/.exec(data.text) || [])[1];

// ---- Lanes --------------------------------------------------------------------------------------
// Copies of one kind ("piece", "piece #2") share a lane, and so do those that close nodes.
const kindOfLane = (name) => /^close\//.test(name) ? 'closing' : name.replace(/ #\d+$/, '');
let laneNames = [...new Set(data.lanes.map(kindOfLane))];
let laneIndex = data.lanes.map((name) => laneNames.indexOf(kindOfLane(name)));

// For each step the latest snapshot, what happened, and what changed.
function readSteps() {
  const snapshots = data.snapshots.map(parseSnapshot);
  const notesAt = data.steps.map(() => []), askedBy = new Map();
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
      rememberDrains(graph, index, kindOfLane(data.lanes[step.lane]));
      changes.push(...graphChanges(before || graph, graph));
    }
    if (jobs !== jobsBefore) changes.push(...jobChanges(jobsBefore, jobs));
    changes.push(...watch.look(index, graph, jobs));
    changes.sort((a, b) => b.weight - a.weight);
    const operations = told.filter((note) => note.kind === 'io' || note.kind === 'fault')
        .map(operationOf).filter(Boolean);
    for (const each of operations) {
      if (each.begins) askedBy.set(each.number, data.lanes[step.lane]);
      each.by = askedBy.get(each.number);
    }
    const over = new Set([...watch.jobs].filter((entry) => entry[1]).map((entry) => entry[0]));
    return { ...step, index, told, changes, graph, before: before || graph, jobs, jobsBefore, over,
             operations, jump: step.ns - timeBefore(index),
             weight: Math.max(0, ...changes.map((change) => change.weight)) };
  });
  if (hasFailed && steps.length > 0) addWhatTheFailureFound(steps[data.failedStep]);
  return { steps, graphs, hasJobs };
}
// A job that ends while it holds a drain is found by a check, in the middle of a step: no snapshot
// shows it.
const ENDS = ['aborting', 'concluded', 'null'];
function forgottenDrains(step) {
  const named = blamedBy(data.text).names;
  const ends = (owner) => step.over.has(owner.id) || named.has(owner.id) && step.jobs.some(
      (job) => job.id === owner.id && ENDS.includes(job.state));
  return ((step.graph || NOTHING).sections || []).filter(
      (section) => section.owners.some((owner) => /\bjob$/.test(owner.type) && ends(owner)));
}
function addWhatTheFailureFound(step) {
  const found = forgottenDrains(step).map((section) => ({ weight: 5, isStale: true,
                                                          ...changeOfForgottenDrain(section) }));
  const known = new Set(step.changes.map((change) => change.text));
  step.changes.unshift(...found.filter((change) => !known.has(change.text)));
  step.weight = Math.max(step.weight, ...found.map((change) => change.weight));
}
const { steps, graphs, hasJobs } = readSteps();
const actsOf = (step) => step.told.filter((note) => note.kind === 'act');
const bugNote = (step) => step.told.find((note) => note.kind === 'bug');

// ---- Where the sector that the failure is about was written -------------------------------------
// In order: { step, node, text }.
function landingsOf(sector) {
  const versionBy = (lane, end) => {
    for (let at = end; at >= 0; --at) {
      if (data.lanes[steps[at].lane] !== lane) continue;
      for (const note of steps[at].told) {
        const match = note.kind === 'data' &&
                      /^write of .* begins \(version (\d+)\)/.exec(note.text);
        if (match) return match[1];
      }
    }
    return null;
  };
  return steps.flatMap((step) => step.operations
      .filter((each) => !each.begins && !each.isFault && changesData(each) && touches(each, sector))
      .map((each) => {
        const version = versionBy(each.by, step.index);
        return { step: step.index, node: each.object, text: version === null
            ? `sector ${sector}: copied in step ${step.index}`
            : `sector ${sector}: version ${version} (step ${step.index})` };
      }));
}
const landings = blamedSectors.slice(0, 1).flatMap(landingsOf);

// ---- In words -----------------------------------------------------------------------------------
const laneOf = (step) => laneNames[laneIndex[step.lane]];
// Of the lanes of one kind, which one: "#3"; empty for the first.
const copyOf = (step) => (/ #\d+$/.exec(data.lanes[step.lane]) || [''])[0].trim();
// Who works on a disk for whom: "t: write sector 0 fails with EIO".
function endingText(operation) {
  const whose = operation.by ? `, for ${operation.by}` : '';
  return operation.isFault ? `fails: ${deedText(operation)}: ${operation.how}${whose}`
                           : `done: ${deedText(operation)}${whose}`;
}
// Why a party runs, in one grammar.
function causeOf(step) {
  if (step.kind === 'coroutine') {
    return step.from === 'start' || step.from === '' ? 'starts' : `woken from: ${step.from}`;
  }
  if (step.kind === 'timer') {
    return `fires: ${step.party}` + (step.jump > 0 ? `, ${durationText(step.jump)} later` : '');
  }
  const ended = step.operations.find((each) => !each.begins);
  return ended ? endingText(ended)
      : `done: ${step.party}${step.from && step.from !== step.party ? ` (${step.from})` : ''}`;
}
const dataNotes = (step) => step.told.filter((note) => note.kind === 'data');
const begunText = (step) => step.operations.filter((each) => each.begins).map(deedText);
function briefOf(step) {
  const act = actsOf(step)[0];
  if (act) return act.object === 'user' ? act.text : `${act.object} ${act.text}`;
  const change = step.changes.find((each) => each.weight >= 1 && each.brief);
  if (change) return change.brief;
  const note = dataNotes(step).pop();
  if (note) return note.text;
  return begunText(step)[0] || causeOf(step);
}
// What happened in a step: what should never be first, then what whoever takes the step has done,
// then what is somebody else's. Of each the weightiest first.
function sentenceOf(step, most) {
  const changes = step.changes.filter((change) => change.weight >= Math.min(2, step.weight) &&
                                                  change.weight > 0);
  const shown = changes.slice(0, most);
  const lane = laneOf(step);
  // "c: c freezes" says it twice.
  const withoutLane = (text) => [`${lane} `, `${lane}: `].reduce(
      (rest, own) => rest.startsWith(own) ? rest.slice(own.length) : rest, text);
  const deeds = shown.filter((each) => !each.isStale && !each.namesWho)
      .map((each) => withoutLane(each.text)).join('; ');
  const more = changes.length - shown.length;
  const textsOf = (test) => shown.filter(test).map((each) => each.text);
  return [...actsOf(step).map((act) => `${act.object} ${act.text}`),
          ...textsOf((each) => each.isStale), deeds && `${lane}: ${deeds}`,
          ...textsOf((each) => each.namesWho), more > 0 && `and ${more} more`]
      .filter(Boolean).join('; ');
}
// Where whoever takes the step waits next; empty if it is not known.
function nextWaitOf(step) {
  const next = steps.slice(step.index + 1).find((each) => each.lane === step.lane);
  return step.kind === 'coroutine' && next && next.from !== 'start' ? next.from : '';
}
// The same also where nothing of weight has come of it: what was begun, or else just done.
function deedOf(step) {
  const sentence = sentenceOf(step, 3);
  if (sentence) return sentence;
  const begun = [...dataNotes(step).map((note) => note.text),
                 ...begunText(step).map((text) => `begins to ${text}`)];
  const wait = nextWaitOf(step);
  if (begun.length === 0 && wait) begun.push(`goes on to ${wait}`);
  return [`${laneOf(step)}, ${causeOf(step)}`, begun.join('; ')].filter(Boolean).join(': ');
}
)js";

}  // namespace millrace
