#include "millrace/engine/explore/replay_page_parts.h"

namespace millrace {

const char kReplayPageLayoutScript[] = R"js(
// ---- Where each node stands, in all steps alike -------------------------------------------------
// Nodes of which one begins when the other has gone, and that have a neighbour in common, share a
// place. Who stands on another one stands above it. A box has room for all that it will ever say.
const LINE = 15.5, HEAD = 44, GAP = 27, USERS_MAX = 4;
// Who uses a node is said beside it where the graph is a chain, and within it where it is wide.
// `side`: room for links that go around, `plain`: between columns where none does.
const BESIDE = { box: 212, words: 246, side: 118, plain: 16, inside: false };
const INSIDE = { box: 252, words: 0, side: 118, plain: 40, inside: true };
// Of letters: what is drawn smaller than this would not be read.
const FONT = 12.5, FONT_MIN = 11, SCALE_MAX = 1.35;

// Whoever stands beside a node, at most.
const usersOf = (node) => new Set([
    ...(node.users || []).filter((user) => !keepsOpen(user)).map(userName),
    ...(node.claims || []).map((claim) => nameOf(claim.holder))]);

function lifetimesOf(graphs) {
  const lives = new Map();
  graphs.forEach((graph, time) => {
    const byName = new Map(graph.nodes.map((node) => [node.name, node]));
    for (const node of graph.nodes) {
      if (!lives.has(node.id)) {
        lives.set(node.id, { id: node.id, name: node.name, kind: node.kind, first: time, users: 0,
                             deviceSince: Infinity, isDrained: false, near: new Set(),
                             below: new Map() });
      }
      const life = lives.get(node.id);
      life.last = time;
      life.users = Math.max(life.users, Math.min(USERS_MAX, usersOf(node).size));
      life.isDrained = life.isDrained || node.drained;
      if ((node.users || []).some((user) => user.device)) {
        life.deviceSince = Math.min(life.deviceSince, time);
      }
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
// `marked`: the names of nodes about which there is one more thing to say.
function slotsOf(lives, marked) {
  const slots = [], slotOf = new Map();
  for (const life of lives) {
    let slot = slots.find((each) => each.last < life.first && each.kind === life.kind &&
                                    [...life.near].some((name) => each.near.has(name)));
    if (!slot) {
      slot = { kind: life.kind, near: new Set(), below: new Map(), row: 0, users: 0,
               deviceSince: Infinity, isDrained: false, isMarked: false };
      slots.push(slot);
    }
    slot.last = life.last;
    slot.users = Math.max(slot.users, life.users);
    slot.isDrained = slot.isDrained || life.isDrained;
    slot.isMarked = slot.isMarked || marked.has(life.name);
    slot.deviceSince = Math.min(slot.deviceSince, life.deviceSince);
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
// The first disk's chain stands on the left.
function setColumns(slots, links) {
  const taken = new Set();
  const sinceOf = (slot) => Math.min(slot.deviceSince, 1e9);
  const sorted = [...slots].sort((a, b) => a.row - b.row || sinceOf(a) - sinceOf(b));
  for (const slot of sorted) {
    const strongest = links.find((link) => link.below === slot && link.slot.column !== undefined);
    let column = strongest ? strongest.slot.column : 0;
    while (taken.has(`${slot.row}/${column}`)) ++column;
    slot.column = column;
    taken.add(`${slot.row}/${column}`);
  }
}
// The columns that links reach from the side, because something stands between.
function sideColumns(slots) {
  const columns = new Set();
  for (const slot of slots) {
    for (const below of slot.below.keys()) {
      const rows = below.row - slot.row;
      const isFree = slot.column === below.column && !slots.some((each) =>
          each.column === slot.column && each.row > slot.row && each.row < below.row);
      if (rows < 1 || rows > 1 && !isFree) columns.add(below.column);
    }
  }
  return columns;
}
function placed(slots, style) {
  const rows = Math.max(1, ...slots.map((slot) => slot.row + 1));
  const heights = Array(rows).fill(0);
  for (const slot of slots) {
    const words = LINE * ((slot.isDrained ? 1 : 0) + (slot.isMarked ? 1 : 0) + slot.users);
    slot.width = style.box;
    slot.height = HEAD + (style.inside ? words : 0);
    heights[slot.row] = Math.max(heights[slot.row], slot.height, style.inside ? 0 : 2 + words);
  }
  const tops = [];
  heights.forEach((height, row) => tops.push(row === 0 ? 8 : tops[row - 1] + heights[row - 1] + GAP));
  const sides = sideColumns(slots), left = [];
  const columns = Math.max(1, ...slots.map((slot) => slot.column + 1));
  for (let column = 0, end = 0; column < columns; ++column) {
    const room = sides.has(column) ? style.side : column === 0 ? 14 : style.plain;
    left.push(end + room);
    end = left[column] + style.box + style.words;
  }
  for (const slot of slots) {
    slot.x = left[slot.column];
    slot.y = tops[slot.row] + (style.inside ? 0 : (heights[slot.row] - slot.height) / 2);
    slot.gapBelow = tops[slot.row] + heights[slot.row] + GAP / 2;
    slot.gapAbove = tops[slot.row] - GAP / 2;
  }
  return { style, width: left[columns - 1] + style.box + Math.max(style.words, 14),
           height: tops[rows - 1] + heights[rows - 1] + 8 };
}
// For a pane of this size: what makes letters largest. Where that is too small to read, the pane
// scrolls. A graph keeps its layout from step to step.
function layoutOf(graphs, marked, pane) {
  const { slots, slotOf } = slotsOf(lifetimesOf(graphs), marked);
  setColumns(slots, setRows(slots));
  const scaleOf = (each) => Math.min(pane.width / each.width, pane.height / each.height);
  const styles = [BESIDE, INSIDE].map((style) => ({ style, scale: scaleOf(placed(slots, style)) }));
  const best = styles[1].scale > styles[0].scale ? INSIDE : BESIDE;
  const size = placed(slots, best);
  const scale = Math.max(FONT_MIN / FONT, Math.min(SCALE_MAX, scaleOf(size)));
  return { ...size, slotOf, scale };
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
    const x1 = from.x + from.width / 2 + shift, y1 = from.y + from.height;
    const x2 = to.x + to.width / 2 + shift, y2 = to.y - 2;
    if (isBelow && from.column === to.column && isFree(from.column, from.row, to.row)) {
      routes.set(link, { d: `M${x1},${y1} L${x2},${y2}`, anchor: 'start', x: x1 + 9,
                         y: from.gapBelow + 4 });
      continue;
    }
    if (isBelow && to.row === from.row + 1) {
      const middle = from.gapBelow;
      routes.set(link, { d: `M${x1},${y1} L${x1},${middle - 9} C${x1},${middle + 8} ` +
                            `${x2},${middle - 8} ${x2},${y2}`,
                         anchor: 'middle', x: (x1 + x2) / 2, y: middle + 4 });
      continue;
    }
    const lane = laneOf(to.column, from.row, to.row);
    const x = to.x - 18 - 13 * lane;
    const yTo = to.y + to.height * 0.35 + 4 * lane;
    const down = yTo > from.y ? 8 : -8;
    if (from.column === to.column) {
      const yFrom = from.y + from.height * 0.65 - 4 * lane;
      // Beside the gap below the upper box: other links leave and arrive beside boxes only.
      const yWords = isBelow ? from.gapBelow : from.gapAbove;
      routes.set(link, { d: `M${from.x},${yFrom} H${x + 8} Q${x},${yFrom} ${x},${yFrom + down} ` +
                            `V${yTo - down} Q${x},${yTo} ${x + 8},${yTo} H${to.x - 2}`,
                         anchor: 'end', x: x - 6, y: yWords + 4 });
      continue;
    }
    const y = from.gapBelow - 6 + 3 * lane;
    routes.set(link, { d: `M${x1},${y1} V${y} H${x} V${yTo} H${to.x - 2}`, anchor: 'end', x: x - 6,
                       y: (isBelow ? to.gapAbove : to.gapBelow) + 4 });
  }
  return routes;
}
)js";

}  // namespace millrace
