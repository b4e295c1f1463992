#include "millrace/engine/explore/replay_page_parts.h"

namespace millrace {

const char kReplayPageLayoutScript[] = R"js(
// ---- Where each node stands, in all steps alike -------------------------------------------------
// Nodes of which one begins when the other has gone, and that have a neighbour in common, share a
// place. Who stands on another one stands above it.
const BOX = { width: 216, height: 42 }, ROW = 70, USERS = 268, GUTTER = 118, INNER_GUTTER = 66;

function lifetimesOf(graphs) {
  const lives = new Map();
  graphs.forEach((graph, time) => {
    const byName = new Map(graph.nodes.map((node) => [node.name, node]));
    for (const node of graph.nodes) {
      if (!lives.has(node.id)) {
        lives.set(node.id, { id: node.id, kind: node.kind, first: time, hasDevice: false,
                             near: new Set(), below: new Map() });
      }
      const life = lives.get(node.id);
      life.last = time;
      if ((node.users || []).some((user) => user.device)) life.hasDevice = true;
    }
    for (const node of graph.nodes) {
      for (const edge of node.edges || []) {
        const child = byName.get(edge.child);
        if (!child) continue;
        const life = lives.get(node.id);
        life.below.set(child.id, (life.below.get(child.id) || 0) + 1);
        life.near.add(child.name);
        lives.get(child.id).near.add(node.name);
      }
    }
  });
  return [...lives.values()];
}
function slotsOf(lives) {
  const slots = [], slotOf = new Map();
  for (const life of lives) {
    let slot = slots.find((each) => each.last < life.first && each.kind === life.kind &&
                                    [...life.near].some((name) => each.near.has(name)));
    if (!slot) {
      slot = { kind: life.kind, near: new Set(), below: new Map(), hasDevice: false, row: 0 };
      slots.push(slot);
    }
    slot.last = life.last;
    slot.hasDevice = slot.hasDevice || life.hasDevice;
    life.near.forEach((name) => slot.near.add(name));
    slotOf.set(life.id, slot);
  }
  for (const life of lives) {
    const slot = slotOf.get(life.id);
    for (const [child, count] of life.below) {
      const below = slotOf.get(child);
      if (below !== slot) slot.below.set(below, (slot.below.get(below) || 0) + count);
    }
  }
  return { slots, slotOf };
}
// The links that last longest decide; one that would make a circle with them does not count.
function setRows(slots) {
  const links = slots.flatMap((slot) => [...slot.below].map(
      ([below, count]) => ({ slot, below, count }))).sort((a, b) => b.count - a.count);
  const above = new Map(slots.map((slot) => [slot, []]));
  const leadsTo = (from, to, seen = new Set()) => from === to || (!seen.has(from) &&
      (seen.add(from), above.get(from).some((next) => leadsTo(next, to, seen))));
  for (const { slot, below } of links) {
    if (!leadsTo(slot, below)) above.get(below).push(slot);
  }
  const rowOf = new Map();
  const row = (slot) => {
    if (!rowOf.has(slot)) rowOf.set(slot, Math.max(-1, ...above.get(slot).map(row)) + 1);
    return rowOf.get(slot);
  };
  for (const slot of slots) slot.row = row(slot);
  return links;
}
function setColumns(slots, links) {
  const taken = new Set();
  const sorted = [...slots].sort((a, b) => a.row - b.row || b.hasDevice - a.hasDevice);
  for (const slot of sorted) {
    const strongest = links.find((link) => link.below === slot && link.slot.column !== undefined);
    let column = strongest ? strongest.slot.column : 0;
    while (taken.has(`${slot.row}/${column}`)) ++column;
    slot.column = column;
    taken.add(`${slot.row}/${column}`);
  }
}
function layoutOf(graphs) {
  const { slots, slotOf } = slotsOf(lifetimesOf(graphs));
  setColumns(slots, setRows(slots));
  const xOf = (column) => GUTTER + column * (BOX.width + USERS + INNER_GUTTER);
  for (const slot of slots) {
    slot.x = xOf(slot.column);
    slot.y = slot.row * ROW + 14;
  }
  const columns = Math.max(1, ...slots.map((slot) => slot.column + 1));
  const rows = Math.max(1, ...slots.map((slot) => slot.row + 1));
  return { slotOf, width: xOf(columns - 1) + BOX.width + USERS, height: rows * ROW };
}

// ---- Links around boxes -------------------------------------------------------------------------
// Straight down where nothing stands between; else through the gutter left of the lower node, in a
// lane of its own.
function routesOf(links, slots) {
  const isFree = (column, from, to) => !slots.some((slot) => slot.column === column &&
      slot.row > from && slot.row < to);
  const lanes = [];
  const laneOf = (column, from, to) => {
    const top = Math.min(from, to), end = Math.max(from, to);
    let lane = 0;
    while (lanes.some((each) => each.column === column && each.lane === lane && top < each.end &&
                                each.top < end)) ++lane;
    lanes.push({ column, lane, top, end });
    return lane;
  };
  const routes = new Map();
  const spanOf = ({ from, to }) => Math.abs(to.row - from.row);
  for (const link of [...links].sort((a, b) => spanOf(a) - spanOf(b))) {
    const { from, to } = link;
    const isBelow = to.row > from.row;
    const shift = link.isGone ? 26 : 0;
    const x1 = from.x + BOX.width / 2 + shift, y1 = from.y + BOX.height;
    const x2 = to.x + BOX.width / 2 + shift, y2 = to.y - 2;
    if (isBelow && from.column === to.column && isFree(from.column, from.row, to.row)) {
      routes.set(link, { d: `M${x1},${y1} L${x2},${y2}`, anchor: 'start', x: x1 + 9,
                         y: (from.row === to.row - 1 ? (y1 + y2) / 2 : y1 + 14) + 4 });
      continue;
    }
    if (isBelow && to.row === from.row + 1) {
      const middle = (y1 + y2) / 2;
      routes.set(link, { d: `M${x1},${y1} C${x1},${middle + 8} ${x2},${middle - 8} ${x2},${y2}`,
                         anchor: 'middle', x: (x1 + x2) / 2, y: middle + 4 });
      continue;
    }
    const lane = laneOf(to.column, from.row, to.row);
    const x = to.x - 18 - 13 * lane;
    const yTo = to.y + BOX.height * 0.35 + 4 * lane;
    const down = yTo > from.y ? 8 : -8;
    if (from.column === to.column) {
      const yFrom = from.y + BOX.height * 0.65 - 4 * lane;
      // Beside the gap below the upper box: other links leave and arrive beside boxes only.
      const yWords = from.y + (isBelow ? (BOX.height + ROW) / 2 : (BOX.height - ROW) / 2);
      routes.set(link, { d: `M${from.x},${yFrom} H${x + 8} Q${x},${yFrom} ${x},${yFrom + down} ` +
                            `V${yTo - down} Q${x},${yTo} ${x + 8},${yTo} H${to.x - 2}`,
                         anchor: 'end', x: x - 6, y: yWords + 4 });
      continue;
    }
    const y = y1 + (ROW - BOX.height) / 2 + 5 + 3 * lane;
    routes.set(link, { d: `M${x1},${y1} V${y} H${x} V${yTo} H${to.x - 2}`, anchor: 'end', x: x - 6,
                       y: (y + yTo) / 2 + 4 });
  }
  return routes;
}
)js";

}  // namespace millrace
