#include "millrace/engine/explore/replay_page_parts.h"

namespace millrace {

const char kReplayPageGraphScript[] = R"js(
// ---- The drawing of one step --------------------------------------------------------------------
const ROLES_MAX = 38, USERS_MAX = 4;

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
const classes = (...names) => names.filter(Boolean).join(' ');

// A line per user of a node: what it holds the node as, what it has just taken and given up.
function userLines(node, old, scene) {
  const lines = new Map();
  const lineOf = (who, isDevice, isStale) => {
    if (!lines.has(who)) lines.set(who, { who, isDevice, isStale, roles: [] });
    return lines.get(who);
  };
  const rolesIn = (one) => [
    ...(one.users || []).map((user) => ({ who: userName(user), holder: user.holder,
      isDevice: user.device !== '', purpose: user.purpose, user })),
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
  // Those that only keep an image open come last.
  const rank = (line) => line.isDevice ? 0 : line.who === 'monitor' ? 2 : 1;
  return [...lines.values()].sort((a, b) => rank(a) - rank(b));
}
function drawUsers(group, slot, lines, scene) {
  const shown = lines.length > USERS_MAX ? lines.slice(0, USERS_MAX - 1) : lines;
  const pitch = 14.5, more = lines.length - shown.length;
  const rows = shown.length + (more > 0 ? 1 : 0);
  const top = slot.y + BOX.height / 2 + 4 - (rows - 1) * pitch / 2;
  const x = slot.x + BOX.width + 12;
  shown.forEach((line, i) => {
    const text = svg(group, 'text', { x, y: top + i * pitch, 'data-user': line.who, class: classes(
        'user', line.isDevice && 'device', line.who === 'monitor' && 'quiet',
        line.isStale && 'stale', scene.blamed.names.has(line.who) && 'blamed') });
    svg(text, 'tspan', { class: 'who' }, `${line.who}: `);
    let left = ROLES_MAX - line.who.length;
    line.roles.forEach((role, k) => {
      if (left <= 0) return;
      const isJoined = k > 0 && role.kind !== 'busy';
      svg(text, 'tspan', { class: role.kind },
          (isJoined ? ', ' : k > 0 ? ' ' : '') + shortened(role.text, Math.max(left, 4)));
      left -= role.text.length + 2;
    });
    if (line.isStale) svg(text, 'tspan', {}, ' (it is over)');
    svg(text, 'title', {}, `${line.who}: ${line.roles.map((role) => role.text).join(', ')}`);
  });
  if (more > 0) {
    const text = svg(group, 'text', { x, y: top + shown.length * pitch, class: 'user quiet' },
                     `and ${more} more`);
    svg(text, 'title', {}, lines.map((line) => `${line.who}: ` +
        line.roles.map((role) => role.text).join(', ')).join('\n'));
  }
}
function drawNode(root, place, scene) {
  const { node, slot, isDead, isNew, old } = place;
  const { x, y } = slot;
  const isDraining = !node.drained && scene.draining.has(node.name);
  const kinds = classes('node', node.kind === 'filter' && 'filter', node.drained && 'drained',
      isDraining && 'draining', isDead && 'dead', isNew && 'new',
      scene.blamed.names.has(node.name) && 'blamed',
      scene.changed.nodes.has(node.name) && 'changed');
  const group = svg(root, 'g', { class: kinds, 'data-node': node.name });
  svg(group, 'rect', { class: 'box', x, y, rx: 6, width: BOX.width, height: BOX.height });
  svg(group, 'text', { class: 'name', x: x + 11, y: y + 18 }, shortened(node.name, 17));
  const states = isDead ? ['gone now'] : [isNew ? 'new' : '', node['read-only'] ? 'ro' : '',
      node.drained ? 'drained' : isDraining ? 'draining' : ''].filter(Boolean);
  svg(group, 'text', { class: 'state', x: x + BOX.width - 9, y: y + 17, 'text-anchor': 'end' },
      states.join(' \u00b7 '));
  // Where a user counts requests that the node does not, its zero is shown, too.
  const usersCount = Math.max(0, ...(node.users || []).map((user) => user['in-flight'] || 0));
  const hasBadge = !isDead && (node.requests > 0 || usersCount > 0);
  svg(group, 'text', { class: 'small', x: x + 11, y: y + 34 },
      shortened(node.driver || '', hasBadge ? 15 : 28));
  if (hasBadge) {
    const words = `${node.requests} in flight`;
    const width = words.length * 6.3 + 14;
    const badge = svg(group, 'g', { class: classes('badge', node.requests === 0 && 'zero') });
    svg(badge, 'rect', { x: x + BOX.width - width - 6, y: y + 22, rx: 8, width, height: 16 });
    svg(badge, 'text', { x: x + BOX.width - width / 2 - 6, y: y + 34, 'text-anchor': 'middle' },
        words);
  }
  if (!isDead) drawUsers(group, slot, userLines(node, old, scene), scene);
}
function drawLink(root, link, route, scene) {
  const { edge, name, isGone } = link;
  const lease = edge.lease;
  const isStale = lease && scene.isStale(lease);
  const isBlamed = scene.blamed.links.has(name);
  const kind = isGone ? 'gone' : isBlamed || isStale ? 'bad' : scene.changed.links.has(name)
      ? 'changed' : lease ? 'frozen' : '';
  const kinds = classes('link', kind, lease && 'leased', isStale && 'stale', isBlamed && 'blamed');
  const group = svg(root, 'g', { class: kinds, 'data-edge': name });
  if (lease) group.setAttribute('data-lessee', lease.id);
  svg(group, 'path', { class: 'edge', d: route.d, 'marker-end': `url(#tip-${kind || 'plain'})` });
  const words = isGone ? 'until now' : lease
      ? `frozen by ${shortened(nameOf(lease), 18)}${isStale ? ', which is over' : ''}`
      : edge.name;
  svg(group, 'text', { x: route.x, y: route.y, 'text-anchor': route.anchor }, words);
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
                               ['gone', '#c0202f'], ['bad', '#c0202f']]) {
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
// scene: { now, before, layout, changed, blamed: { names, links }, isStale(holder) }
function drawGraph(root, scene) {
  root.replaceChildren();
  drawDefinitions(root);
  const { layout } = scene;
  // Few nodes are not blown up to fill the space.
  const width = Math.max(layout.width, 640), height = Math.max(layout.height, 380);
  root.setAttribute('viewBox',
      `${(layout.width - width) / 2} ${(layout.height - height) / 2} ${width} ${height}`);
  scene.draining = new Set((scene.now.sections || []).filter((section) => !section.granted)
      .flatMap((section) => section.covers));
  const places = placesOf(scene);
  const links = linksOf(scene, places);
  const routes = routesOf(links, places.map((place) => place.slot));
  for (const link of links) if (link.isGone) drawLink(root, link, routes.get(link), scene);
  for (const link of links) if (!link.isGone) drawLink(root, link, routes.get(link), scene);
  for (const place of places) drawNode(root, place, scene);
}
)js";

}  // namespace millrace
