#include "millrace/engine/explore/replay_page_parts.h"

namespace millrace {

const char kReplayPageChangesScript[] = R"js(
'use strict';
// ---- What differs between two snapshots ---------------------------------------------------------
// A change: { weight: 0 to 5, text, brief, links: ['n1>n0'], roles: ['n0/c/base'], namesWho }.
// Weight 2 and more is worth looking at; 5 is what should never be. With `namesWho` the text says
// whose it is; else it is of whoever takes the step.
const ARROW = '\u2192';
const nameOf = (holder) => holder.id || holder.type;
const userName = (user) => user.device || nameOf(user.holder);
// A monitor that only keeps an image open.
const keepsOpen = (user) => user.holder.type === 'monitor' && !user.device && !user['in-flight'];
const linkName = (link) => link.replace('>', ARROW);

// Drains have a number in the order in which they began. Whoever a drain is for owns it, else who
// began it: to its end it may be another's step in which something becomes of it.
const drains = new Map();  // by key: { number, step, by }
function drainKey(section) {
  return section.id !== undefined ? `#${section.id}`
      : [section.owners.map(nameOf), section.roots, section.since].join('/');
}
function rememberDrains(graph, step, by) {
  for (const section of graph.sections || []) {
    const key = drainKey(section);
    if (!drains.has(key)) drains.set(key, { number: drains.size + 1, step, by });
  }
}
const drainOf = (section) => drains.get(drainKey(section));
const drainName = (section) => `drain ${drainOf(section).number}`;
const ownersOf = (section) => namesIn(section.owners.map(nameOf)) || drainOf(section).by;
// A request holds its node once for whoever asks, and once more for each operation that it comes
// to; it is one request all the same. Of those that come from above a node knows no more.
function requestsOf(node) {
  const entered = (node.users || []).reduce((sum, user) => sum + (user['in-flight'] || 0), 0);
  if (entered === 0) return node.requests;
  if (!node.isBelow) return Math.min(node.requests, entered);
  return node.requests >= 2 * entered ? node.requests - entered : node.requests;
}
const counted = (count, word) => `${count} ${word}${count === 1 ? '' : 's'}`;

function parseSnapshot(text) {
  try {
    const parsed = JSON.parse(text);
    const below = new Set((parsed.nodes || []).flatMap(
        (node) => (node.edges || []).map((edge) => edge.child)));
    for (const node of parsed.nodes || []) node.isBelow = below.has(node.name);
    return Array.isArray(parsed.nodes) || Array.isArray(parsed.jobs) ? parsed : null;
  } catch (error) {
    return null;
  }
}
// Each name once.
const namesIn = (names) => [...new Set(names)].join(', ');
function groupBy(items, keyOf, valueOf) {
  const groups = new Map();
  for (const item of items) {
    if (!groups.has(keyOf(item))) groups.set(keyOf(item), []);
    groups.get(keyOf(item)).push(valueOf(item));
  }
  return groups;
}
// What is in `list` and not in `other`, as multisets of keys.
function without(list, other, keyOf) {
  const left = new Map();
  for (const each of other) left.set(keyOf(each), (left.get(keyOf(each)) || 0) + 1);
  return list.filter((each) => {
    const count = left.get(keyOf(each)) || 0;
    left.set(keyOf(each), count - 1);
    return count <= 0;
  });
}
function edgesOf(graph) {
  return graph.nodes.flatMap((node) => (node.edges || []).map((edge) => ({
    key: `${node.id}/${edge.name}`, parent: node.name, link: `${node.name}>${edge.child}`, edge })));
}
function rolesOf(graph) {
  return graph.nodes.flatMap((node) => (node.users || []).map((user) => ({
    role: `${userName(user)}/${user.purpose}`, node: node.name, user })));
}
function claimsOf(graph) {
  return graph.nodes.flatMap((node) => (node.claims || []).map(
      (claim) => ({ holder: nameOf(claim.holder), node: node.name })));
}

function nodeChanges(before, after) {
  const added = without(after.nodes, before.nodes, (node) => node.id);
  const removed = without(before.nodes, after.nodes, (node) => node.id);
  const word = (node) => `${node.kind === 'filter' ? 'filter ' : ''}'${node.name}'`;
  const on = (node) => (node.edges || []).map((edge) => ` on ${edge.child}`).join('');
  const changes = [
    ...added.map((node) => ({ weight: 3, brief: `+ ${node.name}`,
                              text: `${word(node)} appears${on(node)}` })),
    ...removed.map((node) => ({ weight: 3, brief: `\u2212 ${node.name}`,
                                text: `${word(node)} goes` +
                                      (node.state ? ` (${node.state})` : '') }))];
  const previous = new Map(before.nodes.map((node) => [node.id, node]));
  for (const node of after.nodes) {
    const old = previous.get(node.id);
    if (!old) continue;
    if (old['read-only'] !== node['read-only']) {
      const state = node['read-only'] ? 'read-only' : 'writable';
      changes.push({ weight: 1, brief: `${node.name} ${state}`,
                     text: `${node.name} becomes ${state}` });
    }
    if ((old.state || '') !== (node.state || '')) {
      changes.push({ weight: 1, nodes: [node.name], brief: `${node.name}: ${node.state}`,
                     text: `${node.name}: ${old.state} ${ARROW} ${node.state}` });
    }
    if (requestsOf(old) !== requestsOf(node)) {
      changes.push({ weight: 0, text: `${node.name}: requests in flight ${requestsOf(old)} ` +
                                      `${ARROW} ${requestsOf(node)}` });
    }
  }
  return changes;
}
function linkChanges(before, after) {
  const changes = [];
  const old = new Map(edgesOf(before).map((each) => [each.key, each]));
  const now = new Map(edgesOf(after).map((each) => [each.key, each]));
  const known = new Set(before.nodes.map((node) => node.id));
  const alive = new Set(after.nodes.map((node) => node.id));
  for (const [key, { parent, link, edge }] of now) {
    const was = old.get(key);
    if (was && was.edge.child !== edge.child) {
      changes.push({ weight: 4, links: [link], brief: `${parent}${ARROW}${edge.child}`,
        text: `${parent} now stands on ${edge.child}, before on ${was.edge.child}` });
    } else if (!was && known.has(key.split('/')[0])) {
      changes.push({ weight: 4, links: [link], brief: `${parent}${ARROW}${edge.child}`,
                     text: `${parent} now stands on ${edge.child}, before on nothing` });
    }
  }
  for (const [key, { parent, edge }] of old) {
    if (now.has(key) || !alive.has(key.split('/')[0])) continue;
    changes.push({ weight: 4, brief: `${parent} on nothing`,
                   text: `${parent} no longer stands on ${edge.child}` });
  }
  return changes;
}
function leaseChanges(before, after) {
  const leased = (graph) => edgesOf(graph).filter((each) => each.edge.lease).map(
      (each) => ({ key: `${each.key}/${nameOf(each.edge.lease)}`, link: each.link,
                   holder: nameOf(each.edge.lease) }));
  const make = (list, other, verb) => [...groupBy(without(list, other, (each) => each.key),
      (each) => each.holder, (each) => each.link)].map(([holder, links]) => ({
    weight: 2, links, brief: `${verb} ${linkName(links[0])}`,
    text: `${holder} ${verb} ${links.map(linkName).join(', ')}` }));
  const old = leased(before), now = leased(after);
  return [...make(now, old, 'freezes'), ...make(old, now, 'unfreezes')];
}
function roleChanges(before, after) {
  const keyOf = (each) => `${each.role}/${each.node}`;
  const old = rolesOf(before), now = rolesOf(after);
  const taken = groupBy(without(now, old, keyOf), (each) => each.role, (each) => each.node);
  const given = groupBy(without(old, now, keyOf), (each) => each.role, (each) => each.node);
  const changes = [];
  for (const role of new Set([...taken.keys(), ...given.keys()])) {
    const [who, purpose] = role.split('/');
    const to = taken.get(role) || [], from = given.get(role) || [];
    const roles = to.map((node) => `${node}/${role}`);
    if (to.length > 0 && from.length > 0) {
      changes.push({ weight: 4, roles, brief: `${purpose} ${ARROW} ${namesIn(to)}`,
        text: `${who}: '${purpose}' moves from ${namesIn(from)} to ${namesIn(to)}` });
    } else if (to.length > 0) {
      changes.push({ weight: 2, roles, brief: `${purpose}: ${namesIn(to)}`,
                     text: `${who} holds ${namesIn(to)} as '${purpose}'` });
    } else {
      changes.push({ weight: 2, brief: `lets go of ${namesIn(from)}`,
                     text: `${who} lets go of ${namesIn(from)} ('${purpose}')` });
    }
  }
  const counts = new Map(old.map((each) => [keyOf(each), each.user]));
  for (const each of now) {
    const was = counts.get(keyOf(each));
    for (const [field, words] of [['in-flight', 'requests under way'], ['queued', 'requests wait']]) {
      if (!was || was[field] === each.user[field]) continue;
      changes.push({ weight: 0, text: `${userName(each.user)}: ${words} ${was[field]} ${ARROW} ` +
                                      `${each.user[field]}` });
    }
  }
  const make = (list, other, verb) => [...groupBy(
      without(list, other, (each) => `${each.holder}/${each.node}`),
      (each) => each.holder, (each) => each.node)].map(([holder, nodes]) => ({
    weight: 1, brief: `${verb} ${nodes[0]}`, text: `${holder} ${verb} ${nodes.join(', ')}` }));
  const claimed = claimsOf(before), claims = claimsOf(after);
  return [...changes, ...make(claims, claimed, 'claims'),
          ...make(claimed, claims, 'no longer claims')];
}
// What a drain waits for, with each request counted once.
function obstacleOf(section, graph) {
  const match = /^\d+ requests in flight on node '(.*)'$/.exec(section['waits-for'] || '');
  const node = match && graph.nodes.find((each) => each.name === match[1]);
  return node ? `${counted(requestsOf(node), 'request')} in flight on ${node.name}`
              : section['waits-for'];
}
function drainChanges(before, after) {
  const keyOf = (each) => `${drainKey(each)}/${each.granted}`;
  const old = before.sections || [], now = after.sections || [];
  const gone = without(old, now, keyOf);
  const nameOfDrain = (each) => `${ownersOf(each)}'s ${drainName(each)}`;
  const changeOf = (each, brief, text) => {
    const roots = namesIn(each.roots.filter((root) => !/, gone\)$/.test(root)));
    return { weight: 2, namesWho: true, brief: `${nameOfDrain(each)} ${brief}`,
             text: `${nameOfDrain(each)}${roots ? ` of ${roots}` : ''} ${text}` };
  };
  const changes = [];
  for (const each of without(now, old, keyOf)) {
    const pending = gone.findIndex((one) => !one.granted && drainKey(one) === drainKey(each));
    if (pending >= 0) gone.splice(pending, 1);
    const obstacle = obstacleOf(each, after);
    changes.push(each.granted
        ? changeOf(each, 'complete',
                   pending >= 0 ? 'is complete' : 'begins and is complete at once')
        : changeOf(each, 'begins', `begins${obstacle ? ` and waits for ${obstacle}` : ''}`));
  }
  return [...changes, ...gone.map((each) => changeOf(each, 'ends', 'ends'))];
}
const graphChanges = (before, after) => [
  ...linkChanges(before, after), ...nodeChanges(before, after), ...leaseChanges(before, after),
  ...roleChanges(before, after), ...drainChanges(before, after)];

const isOver = (job) => !job || job.state === 'concluded' || job.state === 'null';
function jobChanges(before, after) {
  const old = new Map(before.map((job) => [job.id, job]));
  const changes = [];
  for (const job of after) {
    const was = old.get(job.id);
    if (!was) {
      changes.push({ weight: 1, brief: `+ job ${job.id}`,
                     text: `${job.type} job '${job.id}' is ${job.state}` });
    } else if (was.state !== job.state) {
      const isRest = ['paused', 'standby'].includes(job.state) ||
                     ['paused', 'standby', 'created'].includes(was.state);
      changes.push({ weight: isRest ? 1 : 2, brief: `${job.id} ${job.state}`,
        text: `job '${job.id}': ${was.state} ${ARROW} ${job.state}` +
              (job.error && !was.error ? ` (${job.error})` : '') });
    }
  }
  for (const job of without(before, after, (each) => each.id)) {
    changes.push({ weight: 2, brief: `${job.id} over`, text: `job '${job.id}' is over` });
  }
  return changes;
}

// ---- What should never be -----------------------------------------------------------------------
function changeOfForgottenDrain(section) {
  const nodes = section.covers;
  return { nodes, brief: `${nodes[0]} is still drained`,
           text: `${nodes.join(', ')}: still drained by ${ownersOf(section)} since step ` +
                 `${drainOf(section).step} (${drainName(section)})` };
}
// Remembers from step to step; each thing is told once, where it begins.
class Watch {
  constructor() {
    this.jobs = new Map();     // id: whether it is over
    this.stale = new Set();    // what has been told
    this.removed = new Map();  // node id: the step in which it left every disk's chain
    this.inChain = new Set();
  }
  look(step, graph, jobs) {
    for (const id of this.jobs.keys()) this.jobs.set(id, true);
    for (const job of jobs) this.jobs.set(job.id, isOver(job));
    if (!graph) return [];
    return [...this.holds(graph), ...this.strays(step, graph)];
  }
  isStale(holder) {
    return /\bjob$/.test(holder.type) && this.jobs.get(holder.id) === true;
  }
  // Of jobs that are over.
  holds(graph) {
    const found = [];
    const now = new Set();
    const tell = (key, change) => {
      now.add(key);
      if (!this.stale.has(key)) found.push({ weight: 5, isStale: true, ...change });
    };
    for (const { link, edge } of edgesOf(graph)) {
      if (!edge.lease || !this.isStale(edge.lease)) continue;
      const holder = nameOf(edge.lease);
      tell(`${link}/${holder}`, { links: [link], brief: `${linkName(link)} stays frozen`,
        text: `${linkName(link)} stays frozen by ${holder}, which is over` });
    }
    for (const { role, node, user } of rolesOf(graph)) {
      if (!this.isStale(user.holder)) continue;
      tell(`${node}/${role}`, { roles: [`${node}/${role}`], brief: `${node} is still held`,
        text: `${node} is still held by ${nameOf(user.holder)} ('${user.purpose}'), ` +
              'which is over' });
    }
    for (const { holder, node } of graph.nodes.flatMap((each) => (each.claims || []).filter(
        (claim) => this.isStale(claim.holder)).map(
        (claim) => ({ holder: nameOf(claim.holder), node: each.name })))) {
      tell(`${node}/${holder}/claim`, { brief: `${node} is still claimed`,
        text: `${node} is still claimed by ${holder}, which is over` });
    }
    for (const section of graph.sections || []) {
      if (section.owners.some((owner) => this.isStale(owner))) {
        tell(drainKey(section), changeOfForgottenDrain(section));
      }
    }
    this.stale = now;
    return found;
  }
  // Nodes below no disk any more that only a job keeps, and those of them that come back.
  strays(step, graph) {
    const byName = new Map(graph.nodes.map((node) => [node.name, node]));
    const reached = new Set();
    const visit = (node) => {
      if (!node || reached.has(node.id)) return;
      reached.add(node.id);
      for (const edge of node.edges || []) visit(byName.get(edge.child));
    };
    graph.nodes.filter((node) => (node.users || []).some((user) => user.device)).forEach(visit);
    const found = [];
    for (const node of graph.nodes) {
      if (reached.has(node.id) && this.removed.has(node.id)) {
        found.push({ weight: 5, nodes: [node.name], brief: `${node.name} is back`,
          text: `${node.name} is back below a disk, from where it was taken away in step ` +
                `${this.removed.get(node.id)}` });
        this.removed.delete(node.id);
      } else if (this.inChain.has(node.id) && !reached.has(node.id) && reached.size > 0) {
        const users = node.users || [];
        if (users.length === 0 || !users.every((user) => /\bjob$/.test(user.holder.type))) continue;
        this.removed.set(node.id, step);
        found.push({ weight: 4, nodes: [node.name], brief: `${node.name} is out`,
          text: `${node.name} is below no disk any more; it lives on only because ` +
                users.map((user) => `${userName(user)} holds it as '${user.purpose}'`)
                    .join(' and ') });
      }
    }
    this.inChain = reached;
    return found;
  }
}

// ---- What a failure's text names ----------------------------------------------------------------
// "the chain is n2 <- [f] <- n0, allowed is n2 <- n0": pairs of who stands on whom.
function chainLinks(text) {
  const links = [];
  for (const [chain] of text.matchAll(/[^\s,]+(?: <- [^\s,]+)+/g)) {
    const names = chain.split(' <- ').map((name) => name.replace(/[[\]]/g, ''));
    names.slice(1).forEach((name, i) => links.push(`${names[i]}>${name}`));
  }
  return links;
}
function blamedBy(text) {
  const names = new Set([...text.matchAll(/'([^']+)'/g)].map((match) => match[1]));
  const links = new Set([...text.matchAll(/from '([^']+)' to '([^']+)'/g)].map(
      (match) => `${match[1]}>${match[2]}`));
  const [actual, allowed] = text.split(/, allowed is /);
  if (allowed !== undefined) {
    const good = new Set(chainLinks(allowed));
    for (const link of chainLinks(actual)) if (!good.has(link)) links.add(link);
    const kept = new Set([...good].flatMap((link) => link.split('>')));
    for (const link of links) link.split('>').filter((name) => !kept.has(name)).forEach(
        (name) => names.add(name));
  }
  return { names, links };
}
)js";

}  // namespace millrace
