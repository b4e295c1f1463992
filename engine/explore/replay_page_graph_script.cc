#include "millrace/engine/explore/replay_page_parts.h"

namespace millrace {

const char kReplayPageGraphScript[] = R"js(
// ---- The drawing of one step --------------------------------------------------------------------
const ROLES_MAX = 33;

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
// Fonts differ: what would be too long for its place is drawn a little narrower.
function fit(text, room) {
  if (text.getComputedTextLength() <= room) return;
  text.setAttribute('textLength', Math.max(room, 20));
  text.setAttribute('lengthAdjust', 'spacingAndGlyphs');
}
const classes = (...names) => names.filter(Boolean).join(' ');

// What the failure says of a node, a user or a link: 'blamed' where it has failed, 'suspect' before.
const guiltOf = (scene, kind, name) => [scene.blamed[kind].has(name) && 'blamed',
                                        scene.suspects[kind].has(name) && 'suspect'];

// A line per user of a node: what it holds the node as, what it has just taken and given up.
function userLines(node, old, scene) {
  const lines = new Map();
  const lineOf = (who, isDevice, isStale) => {
    if (!lines.has(who)) lines.set(who, { who, isDevice, isStale, roles: [] });
    return lines.get(who);
  };
  const rolesIn = (one) => [
    ...(one.users || []).filter((user) => !keepsOpen(user)).map((user) => ({
      who: userName(user), holder: user.holder, isDevice: user.device !== '',
      purpose: user.purpose, user })),
    ...(one.claims || []).map((claim) => ({ who: nameOf(claim.holder), holder: claim.holder,
      isDevice: false, purpose: 'claims' }))];
  const keyOf = (role) => `${role.who}/${role.purpose}`;
  const now = rolesIn(node), before = old ? rolesIn(old) : now;
  // Several of one kind are one with a number.
  const counted = (roles) => [...groupBy(roles, keyOf, (role) => role).values()].map(
      (equal) => ({ ...equal[0], times: equal.length > 1 ? ` \u00d7${equal.length}` : '' }));
  const fresh = new Set(without(now, before, keyOf).map(keyOf));
  for (const role of counted(now)) {
    const line = lineOf(role.who, role.isDevice, scene.isStale(role.holder));
    line.roles.push({ text: role.purpose + role.times, kind: fresh.has(keyOf(role)) ? 'fresh' : '' });
    const busy = [role.user && role.user['in-flight'] ? `${role.user['in-flight']} under way` : '',
                  role.user && role.user.queued ? `${role.user.queued} waiting` : '']
        .filter(Boolean);
    if (busy.length > 0) line.roles.push({ text: `(${busy.join(', ')})`, kind: 'busy' });
  }
  for (const role of counted(without(before, now, keyOf))) {
    lineOf(role.who, role.isDevice, false).roles.push({ text: role.purpose + role.times,
                                                        kind: 'lost' });
  }
  const rank = (line) => line.isDevice ? 0 : 1;
  return [...lines.values()].sort((a, b) => rank(a) - rank(b));
}
// What is said of a node: by whom it is drained, the mark of this page, its users. Each is
// { text, kind } or { user }.
function linesOfNode(node, old, scene) {
  const lines = [];
  const drain = drainLine(node, scene);
  if (drain.text) lines.push({ text: drain.text, kind: classes('drain', drain.isWrong && 'wrong') });
  const mark = scene.markOf(node.name);
  if (mark) lines.push({ text: mark, kind: 'mark' });
  const users = userLines(node, old, scene);
  const shown = users.length > USERS_MAX ? users.slice(0, USERS_MAX - 1) : users;
  lines.push(...shown.map((user) => ({ user })));
  const more = users.length - shown.length;
  if (more > 0) {
    const all = users.map((user) => `${user.who}: ` + user.roles.map((role) => role.text).join(', '));
    lines.push({ text: `and ${more} more`, kind: 'user quiet', title: all.join('\n') });
  }
  return lines;
}
function drawUser(text, line, isInside) {
  svg(text, 'tspan', { class: 'who' }, `${shortened(line.who, 16)}: `);
  let left = ROLES_MAX - (isInside ? 3 : 0) - (line.isStale ? 13 : 0) -
             Math.min(16, line.who.length);
  line.roles.forEach((role, k) => {
    if (left <= 0) return;
    const isJoined = k > 0 && role.kind !== 'busy';
    svg(text, 'tspan', { class: role.kind },
        (isJoined ? ', ' : k > 0 ? ' ' : '') + shortened(role.text, Math.max(left, 4)));
    left -= role.text.length + 2;
  });
  if (line.isStale) svg(text, 'tspan', {}, ' (it is over)');
  svg(text, 'title', {}, `${line.who}: ${line.roles.map((role) => role.text).join(', ')}`);
}
// Beside the box, or in it.
function drawLines(group, slot, lines, scene) {
  const { inside } = scene.layout.style;
  const top = inside ? slot.y + HEAD + 7
                     : slot.y + slot.height / 2 + 4 - (lines.length - 1) * LINE / 2;
  const x = inside ? slot.x + 11 : slot.x + slot.width + 12;
  const room = inside ? slot.width - 20 : scene.layout.style.words - 16;
  lines.forEach((line, i) => {
    const y = top + i * LINE;
    if (!line.user) {
      const text = svg(group, 'text', { x, y, class: line.kind }, shortened(line.text, 37));
      svg(text, 'title', {}, line.title || line.text);
      fit(text, room);
      return;
    }
    const { user } = line;
    const text = svg(group, 'text', { x, y, 'data-user': user.who, class: classes(
        'user', user.isDevice && 'device', user.who === 'monitor' && 'quiet',
        user.isStale && 'stale', ...guiltOf(scene, 'names', user.who)) });
    drawUser(text, user, inside);
    fit(text, room);
  });
}
// By whom a node is drained, or is to be, and what is wrong with that.
function drainLine(node, scene) {
  const covering = (scene.now.sections || []).filter((each) => each.covers.includes(node.name));
  const wrong = covering.find((each) => scene.staleDrains.has(drainKey(each)));
  if (wrong) {
    return { isWrong: true, text: `still drained by ${ownersOf(wrong)} since step ` +
                                  `${drainOf(wrong).step}` };
  }
  const namesOf = (sections) => sections.map(
      (each) => `${ownersOf(each)} (${drainName(each)})`).join(', ');
  const granted = covering.filter((each) => each.granted);
  const pending = covering.filter((each) => !each.granted);
  const words = [granted.length > 0 && `drained by ${namesOf(granted)}`,
                 pending.length > 0 && `draining for ${namesOf(pending)}`];
  return { isWrong: false, text: words.filter(Boolean).join('; ') };
}
// Whose all requests inside a drain are, as far as that can be known: the drainer's, if it has some
// under way and nobody else has any here.
function drainerAtWork(node, scene) {
  const owners = new Set((scene.now.sections || []).filter((each) => each.granted &&
      each.owners.length > 0 && each.covers.includes(node.name)).map(ownersOf));
  if (owners.size !== 1) return null;
  const [owner] = owners;
  const busy = (one) => (one.users || []).filter((user) => user['in-flight'] > 0)
      .map((user) => nameOf(user.holder));
  const isAlone = busy(node).every((name) => name === owner);
  return isAlone && scene.now.nodes.some((one) => busy(one).includes(owner)) ? owner : null;
}
// What goes through it now, and whose that is; null where there is nothing to say.
function badgeOf(node, scene) {
  const users = Math.max(0, ...(node.users || []).map((user) => user['in-flight'] || 0));
  // Where a user counts requests that the node does not, its zero is shown, too.
  if (node.requests === 0 && users === 0) return null;
  const count = requestsOf(node), owner = drainerAtWork(node, scene);
  const words = `${count} in flight` + (owner && count > 0 ? `, ${owner}'s own` : '');
  return { words, isZero: count === 0, width: words.length * 7.4 + 12 };
}
function drawBadge(group, slot, badge) {
  const made = svg(group, 'g', { class: classes('badge', badge.isZero && 'zero') });
  svg(made, 'rect', { x: slot.x + slot.width - badge.width - 6, y: slot.y + 23, rx: 8,
                      width: badge.width, height: 16 });
  svg(made, 'text', { x: slot.x + slot.width - badge.width / 2 - 6, y: slot.y + 35,
                      'text-anchor': 'middle' }, badge.words);
}
function drawNode(root, place, scene) {
  const { node, slot, isDead, isNew, old } = place;
  const { x, y } = slot;
  const sections = (scene.now.sections || []).filter((each) => each.covers.includes(node.name));
  const isDraining = sections.length > 0 && sections.every((each) => !each.granted);
  const isWrong = !isDead && drainLine(node, scene).isWrong;
  const kinds = classes('node', node.kind === 'filter' && 'filter',
      node.drained && !isDraining && !isDead && 'drained', isDraining && !isDead && 'draining',
      isDead && 'dead', isNew && 'new',
      isWrong && 'blamed', ...guiltOf(scene, 'names', node.name),
      scene.changed.nodes.has(node.name) && 'changed');
  const group = svg(root, 'g', { class: kinds, 'data-node': node.name });
  svg(group, 'rect', { class: 'box', x, y, rx: 6, width: slot.width, height: slot.height });
  const states = isDead ? ['gone now'] : [isNew ? 'new' : '', node['read-only'] ? 'ro' : '',
      (node.users || []).some(keepsOpen) ? 'monitor' : ''].filter(Boolean);
  const nameRoom = slot.width - 26 - 6.4 * states.join(' - ').length;
  svg(group, 'text', { class: 'name', x: x + 11, y: y + 18 },
      shortened(node.name, Math.max(4, Math.floor(nameRoom / 8.8))));
  svg(group, 'text', { class: 'state', x: x + slot.width - 9, y: y + 17, 'text-anchor': 'end' },
      states.join(' \u00b7 '));
  const badge = isDead ? null : badgeOf(node, scene);
  const driver = [node.state, node.driver].filter(Boolean).join(' \u00b7 ');
  const room = slot.width - 20 - (badge ? badge.width + 4 : 0);
  fit(svg(group, 'text', { class: 'small', x: x + 11, y: y + 34 },
          shortened(driver, Math.floor(room / 6.3))), room);
  if (badge) drawBadge(group, slot, badge);
  const mark = scene.markOf(node.name);
  const last = mark ? [{ text: mark, kind: 'mark' }] : [];
  drawLines(group, slot, isDead ? last : linesOfNode(node, old, scene), scene);
}
function drawLink(root, link, route, scene) {
  const { edge, name, isGone } = link;
  const lease = edge.lease;
  const isStale = lease && scene.isStale(lease);
  const guilt = guiltOf(scene, 'links', name);
  const kind = isGone ? 'gone' : guilt.includes('blamed') || isStale ? 'bad'
      : scene.changed.links.has(name) ? 'changed' : lease ? 'frozen' : '';
  const kinds = classes('link', kind, lease && 'leased', isStale && 'stale', ...guilt);
  const group = svg(root, 'g', { class: kinds, 'data-edge': name });
  if (lease) group.setAttribute('data-lessee', lease.id);
  svg(group, 'path', { class: 'edge', d: route.d, 'marker-end': `url(#tip-${kind || 'plain'})` });
  const words = isGone ? 'until now' : lease
      ? `${isStale ? 'still ' : ''}frozen by ${shortened(nameOf(lease), 14)}`
      : edge.name;
  const text = svg(group, 'text', { x: route.x, y: route.y, 'text-anchor': route.anchor }, words);
  const { width } = scene.layout;
  fit(text, route.anchor === 'start' ? width - route.x - 2 : route.anchor === 'end' ? route.x - 2
      : 2 * Math.min(route.x, width - route.x) - 4);
}
function drawDefinitions(root) {
  const definitions = svg(root, 'defs', {});
  for (const [id, color] of [['hatch', '#c3cbd8'], ['hatch-light', '#e6eaf0']]) {
    const hatch = svg(definitions, 'pattern', { id, width: 7, height: 7,
      patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' });
    svg(hatch, 'rect', { width: 7, height: 7, fill: '#fff' });
    svg(hatch, 'rect', { width: 1.6, height: 7, fill: color });
  }
  for (const [kind, color] of [['plain', '#8894a6'], ['frozen', '#0f7f8c'], ['changed', '#c25a00'],
                               ['gone', '#8d97a6'], ['bad', '#c0202f']]) {
    const tip = svg(definitions, 'marker', { id: `tip-${kind}`, viewBox: '0 0 8 8', refX: 7,
      refY: 4, markerWidth: 9, markerHeight: 9, orient: 'auto', markerUnits: 'userSpaceOnUse' });
    svg(tip, 'path', { d: 'M0,0 L8,4 L0,8 z', fill: color });
  }
}
// The nodes of now, and those that have just gone where nobody took their place.
function placesOf(scene) {
  const { now, before, layout } = scene;
  const old = new Map(before.nodes.map((node) => [node.id, node]));
  const places = now.nodes.map((node) => ({ node, slot: layout.slotOf.get(node.id), isDead: false,
    isNew: before.nodes.length > 0 && !old.has(node.id), old: old.get(node.id) }));
  const taken = new Set(places.map((place) => place.slot));
  const alive = new Set(now.nodes.map((node) => node.id));
  for (const node of before.nodes) {
    const slot = layout.slotOf.get(node.id);
    if (!alive.has(node.id) && !taken.has(slot)) places.push({ node, slot, isDead: true });
  }
  return places;
}
// Links as they are, and those that the step replaced.
function linksOf(scene, places) {
  const byName = new Map(places.filter((place) => !place.isDead).map(
      (place) => [place.node.name, place]));
  const byOldName = new Map(places.map((place) => [place.node.name, place]));
  const links = [];
  const add = (node, edge, from, to, isGone) => {
    if (from && to && from !== to) {
      links.push({ edge, name: `${node.name}>${edge.child}`, from: from.slot, to: to.slot, isGone });
    }
  };
  for (const place of places) {
    const edges = place.node.edges || [];
    if (place.isDead) {
      for (const edge of edges) add(place.node, edge, place, byOldName.get(edge.child), true);
      continue;
    }
    for (const edge of edges) add(place.node, edge, place, byName.get(edge.child), false);
    for (const edge of (place.old || {}).edges || []) {
      if (edges.some((one) => one.name === edge.name && one.child === edge.child)) continue;
      add(place.node, edge, place, byOldName.get(edge.child), true);
    }
  }
  return links;
}
// scene: { now, before, layout, changed, blamed and suspects: { names, links }, isStale(holder),
//          staleDrains: the keys of what should have ended,
//          markOf(name): one more thing to say of a node, if there is }
function drawGraph(root, scene) {
  root.replaceChildren();
  drawDefinitions(root);
  const { width, height, scale } = scene.layout;
  root.setAttribute('viewBox', `0 0 ${width} ${height}`);
  root.style.width = `${width * scale}px`;
  root.style.height = `${height * scale}px`;
  const places = placesOf(scene);
  const links = linksOf(scene, places);
  const routes = routesOf(links, places.map((place) => place.slot));
  for (const link of links) if (link.isGone) drawLink(root, link, routes.get(link), scene);
  for (const link of links) if (!link.isGone) drawLink(root, link, routes.get(link), scene);
  for (const place of places) drawNode(root, place, scene);
}
)js";

}  // namespace millrace
