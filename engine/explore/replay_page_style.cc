#include "millrace/engine/explore/replay_page_parts.h"

namespace millrace {

const char kReplayPageStyle[] = R"css(
:root { --ink: #1d2430; --soft: #5d6878; --line: #dde2e9; --paper: #fff; --ground: #f4f6f9;
        --blue: #2563c9; --blue-soft: #e4edfb; --orange: #c25a00; --orange-soft: #fff0dd;
        --red: #c0202f; --red-soft: #fdeaec; --green: #1a7337; --green-soft: #e5f5e9;
        --violet: #7a3fb8; --violet-soft: #f1e8fb; --frozen: #0f7f8c; }
* { box-sizing: border-box; }
[hidden] { display: none !important; }
html, body { height: 100%; margin: 0; }
body { display: grid; grid-template-rows: auto auto minmax(0, 1fr) auto; background: var(--ground);
       color: var(--ink); font: 14px/1.45 "Inter", "Segoe UI", system-ui, "Liberation Sans",
       "DejaVu Sans", sans-serif; }
code, .mono, pre { font-family: "JetBrains Mono", "SF Mono", Consolas, "Liberation Mono",
                   "DejaVu Sans Mono", monospace; font-size: 12px; }
header { display: flex; align-items: baseline; gap: 14px; padding: 12px 20px 6px; }
h1 { margin: 0; font-size: 20px; font-weight: 650; letter-spacing: -0.01em; }
h2 { margin: 0; font-size: 11px; font-weight: 650; letter-spacing: 0.06em;
     text-transform: uppercase; color: var(--soft); }
#scenario, #glossary summary, #signature { white-space: nowrap; }
#scenario { color: var(--soft); }
#glossary { position: relative; margin-left: auto; }
#glossary summary { color: var(--blue); cursor: pointer; list-style: none; }
#glossary dl { position: fixed; right: 20px; top: 88px; z-index: 5; width: 560px; margin: 0;
               max-height: calc(100vh - 120px); overflow: auto; padding: 12px 16px; border: 1px solid var(--line); border-radius: 8px;
               background: var(--paper); box-shadow: 0 8px 30px #1d243022; font-size: 13px; }
#glossary dt { float: left; clear: left; width: 118px; font-weight: 650; }
#glossary dd { margin: 0 0 5px 124px; }
#signature { padding: 3px 12px; border-radius: 12px; font-weight: 600;
             background: var(--red-soft); color: var(--red); }
#signature.well { background: var(--green-soft); color: var(--green); }
nav { display: flex; align-items: center; gap: 6px; padding: 2px 20px 10px; }
nav button { height: 30px; min-width: 34px; padding: 0 10px; border: 1px solid var(--line);
             border-radius: 6px; background: var(--paper); color: var(--ink); font: inherit;
             cursor: pointer; }
nav button:hover:enabled { border-color: var(--blue); color: var(--blue); }
nav button:disabled { opacity: 0.4; cursor: default; }
#track { position: relative; flex: 1; margin: 0 12px; height: 30px; }
#slider { width: 100%; margin: 8px 0 0; accent-color: var(--blue); }
.tick { position: absolute; top: 0; width: 4px; height: 9px; margin-left: -2px;
        border-radius: 1px; background: #8894a6; }
.tick.act { background: var(--blue); }
.tick.bug { background: var(--violet); }
.tick.order { background: var(--orange); }
.tick.time, .tick.data { background: #556070; }
.tick.stale, .tick.fault, .tick.failure { background: var(--red); }
/* As wide as it can get: the slider keeps its place from step to step. */
#where { flex: none; width: 215px; text-align: right; white-space: nowrap;
         font-variant-numeric: tabular-nums; }
#where b { font-size: 16px; }
#where span { color: var(--soft); }
main { display: grid; grid-template-columns: minmax(0, 9fr) minmax(0, 11fr); gap: 12px;
       padding: 0 20px 9px; min-height: 0; }
.side { display: flex; flex-direction: column; gap: 10px; min-height: 0; }
section { display: flex; flex-direction: column; min-height: 0; border: 1px solid var(--line);
          border-radius: 8px; background: var(--paper); overflow: hidden; }
#wrong { flex: 0 0 auto; max-height: 44%; overflow: auto; padding: 9px 14px 10px; font-size: 13px;
         border-left: 4px solid var(--red); }
#wrong.well { border-left-color: var(--green); }
#plain { margin: 2px 0 3px; font-size: 14px; font-weight: 650; color: var(--red); }
#plain:empty { display: none; }
#failure-text { margin: 2px 0; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 11.5px;
                line-height: 16px; color: #8c2a34; max-height: 80px; overflow: auto; }
#failure-text:empty { display: none; }
#plain:empty + #failure-text { font-size: 12.5px; font-weight: 600; color: var(--red); }
#wrong.well #failure-text { color: var(--ink); }
#arrows { margin: 0 0 2px; color: var(--soft); font-size: 12px; }
#wrong div p { display: grid; grid-template-columns: 88px minmax(0, 1fr); margin: 3px 0 0;
               column-gap: 10px; }
#wrong div p span:only-child { grid-column: 1 / 3; }
#wrong div b { font-weight: 650; color: var(--soft); font-size: 12px; padding-top: 1px; }
#background summary { margin-top: 3px; color: var(--blue); cursor: pointer; font-size: 12.5px; }
#why { flex: 0 1 auto; min-height: 120px; max-height: 47%; padding: 8px 10px; }
#why h2 { padding: 0 4px 3px; }
#moments { overflow: auto; scroll-padding-bottom: 46px; }
.moment:is(button) { display: flex; gap: 8px; width: 100%; padding: 3px 6px; border: 0;
         border-left: 3px solid #b7c0cd; border-radius: 0 4px 4px 0; margin-top: 2px;
         background: none; color: var(--ink); font: inherit; font-size: 12.5px; line-height: 1.35;
         text-align: left; cursor: pointer; }
.moment:is(button) span { display: -webkit-box; -webkit-box-orient: vertical; overflow: hidden;
                          -webkit-line-clamp: 2; }
.moment:is(button) i { flex: none; width: 62px; white-space: nowrap; font-style: normal; color: var(--soft);
                       text-align: right; font-variant-numeric: tabular-nums; }
.moment:is(button) b { flex: none; min-width: 28px; text-align: right; color: var(--soft);
                       font-variant-numeric: tabular-nums; }
.moment:is(button):hover { background: var(--ground); }
.moment.act:is(button) { border-left-color: var(--blue); }
.moment.bug:is(button) { border-left-color: var(--violet); }
.moment.order:is(button) { border-left-color: var(--orange); }
.moment.data:is(button) { border-left-color: #556070; }
.moment.stale:is(button), .moment.fault:is(button), .moment.failure:is(button) {
         border-left-color: var(--red); color: var(--red); }
/* The end is always in sight. */
.moment.failure:is(button) { position: sticky; bottom: 0; background: var(--paper); }
.moment.current:is(button) { background: var(--blue-soft); }
.moment.current:is(button) span { font-weight: 600; }
#orders { padding: 4px 6px 0; font-size: 12.5px; color: var(--soft); }
#orders summary { cursor: pointer; }
#deviations { margin: 2px 0 0; padding: 0; list-style: none; }
#deviations li { cursor: pointer; }
#deviations b { color: var(--orange); margin-right: 6px; font-variant-numeric: tabular-nums; }
footer { display: flex; align-items: baseline; gap: 10px; padding: 0 20px 9px; font-size: 12px;
         color: var(--soft); max-height: 52px; overflow: auto; }
footer span { flex: none; }
#replay { font-size: 11.5px; color: var(--ink); overflow-wrap: anywhere; user-select: all; }
#paths { flex: 1 1 0; min-height: 150px; }
#lanes { flex: 1; overflow: auto; scroll-behavior: auto; }
#lanes table { border-collapse: separate; border-spacing: 0; min-width: 100%; }
#lanes th { position: sticky; top: 0; z-index: 2; padding: 7px 8px 5px; background: var(--paper);
            border-bottom: 1px solid var(--line); font-size: 12px; font-weight: 650;
            text-align: left; white-space: nowrap; }
#lanes td { padding: 1px 3px; border-left: 1px solid #eef1f5; min-width: 78px; }
#lanes .time { position: sticky; left: 62px; z-index: 1; min-width: 60px; padding: 0 5px;
               background: var(--paper); text-align: right; color: var(--soft); font-size: 11px;
               font-weight: 400; white-space: nowrap; }
#lanes th.time { z-index: 3; }
#lanes .number { position: sticky; left: 0; z-index: 1; min-width: 62px; padding: 0 6px 0 0;
            border-left: 0; background: var(--paper); text-align: right; color: var(--soft);
            font-weight: 400; font-variant-numeric: tabular-nums; font-size: 12px;
            white-space: nowrap; }
#lanes th.number { z-index: 3; }
#lanes tr.moment td.number { color: var(--ink); font-weight: 650; }
.fold-head td { cursor: pointer; color: var(--soft); font-size: 12px; background: #fafbfd; }
.fold-words { position: sticky; left: 66px; padding-left: 4px; }
.fold-words::before { content: "\25b8\00a0"; }
.fold.open .fold-words::before, .fold.here .fold-words::before { content: "\25be\00a0"; }
.fold:not(.open):not(.here) tr.step { display: none; }
.block { display: block; height: 21px; padding: 1px 7px; border: 1px solid #d5dfee;
         border-radius: 4px; background: #f3f7fd; font-size: 12px; line-height: 17px;
         color: #4a5768; white-space: nowrap; overflow: hidden; text-overflow: ellipsis;
         max-width: 150px; cursor: pointer; }
.block.telling { border-color: #9dbbe8; background: var(--blue-soft); color: var(--ink); }
.block.bug { border-color: #c6a5ea; background: var(--violet-soft); color: var(--ink); }
tr.future .block { opacity: 0.5; }
tr.current td, #lanes tr.current td.number, #lanes tr.current td.time { background: #e9f0fb; }
.block.deviation { border-color: #e8a860; background: var(--orange-soft); }
.block.deviation::before { content: "\2731\00a0"; color: var(--orange); }
.block.stale, .block.failed { border-color: #e59aa2; background: var(--red-soft); color: var(--red); }
.block.current { border-color: var(--blue); background: var(--blue); color: #fff; }
.block.current.deviation { border-color: var(--orange); background: var(--orange); }
.block.current.deviation::before { color: #fff; }
.block.current.bug { border-color: var(--violet); background: var(--violet); }
.block.current.stale, .block.current.failed { border-color: var(--red); background: var(--red); }
tr.first-deviation td { border-top: 2px solid var(--orange); }
#picture { flex: 1; min-height: 0; display: flex; flex-direction: column; }
#jobs { display: flex; flex-wrap: wrap; gap: 6px; padding: 9px 14px 2px; min-height: 36px; }
.job { padding: 1px 10px; border: 1px solid var(--line); border-radius: 12px; font-size: 12.5px;
       background: var(--ground); white-space: nowrap; }
.job b { margin-right: 6px; }
.job.fresh { border-color: var(--orange); background: var(--orange-soft); }
.job.over { color: var(--soft); background: none; border-style: dashed; }
.job.suspect { border-color: var(--red); }
.job.blamed { border-color: var(--red); background: var(--red-soft); color: var(--red); }
#canvas { flex: 1; min-height: 0; display: flex; overflow: auto; }
#graph { flex: none; margin: auto; }
#graph text { font-size: 12.5px; fill: var(--ink); }
#graph .name { font-weight: 650; font-size: 14.5px; }
#graph .small { fill: var(--soft); }
#graph .state { fill: var(--soft); }
#graph .box { fill: #f7f9fc; stroke: #8894a6; stroke-width: 1.4; }
#graph .filter .box { stroke-dasharray: 6 3; fill: #fff; }
#graph .drained .box { fill: url(#hatch); }
#graph .draining .box { fill: url(#hatch-light); }
#graph .node.drained > text, #graph .node.draining > text, #graph .link text { paint-order: stroke; stroke: #fff; stroke-width: 4px; stroke-linejoin: round; }
#graph .new .box { stroke: var(--green); stroke-width: 2.4; }
#graph .new .state { fill: var(--green); }
#graph .changed .box { stroke: var(--orange); stroke-width: 2.4; }
#graph .suspect .box { stroke: var(--red); stroke-width: 2.2; }
#graph .blamed .box { fill: var(--red-soft); stroke: var(--red); stroke-width: 2.2; }
#graph .blamed.drained .box { fill: url(#hatch); }
#graph .blamed .name { fill: var(--red); }
#graph .dead .box { fill: #fff; stroke: #b7c0cd; stroke-dasharray: 2 4; }
#graph .dead text { fill: #8d97a6; }
#graph .dead text.mark { fill: #a58ac2; }
#graph .dead .name { text-decoration: line-through; }
#graph .drain { fill: var(--soft); font-weight: 600; }
#graph .drain.wrong { fill: var(--red); }
#graph .mark { fill: var(--violet); font-weight: 600; }
#graph .edge { stroke: #8894a6; stroke-width: 1.6; fill: none; }
#graph .link text { fill: var(--soft); }
#graph .leased .edge { stroke: var(--frozen); stroke-width: 3.2; }
#graph .leased text { fill: var(--frozen); font-weight: 650; }
#graph .link.changed .edge { stroke: var(--orange); stroke-width: 3; }
#graph .link.changed text { fill: var(--orange); font-weight: 650; }
#graph .link.gone .edge { stroke: #a9b2bf; stroke-width: 1.8; stroke-dasharray: 5 4; }
#graph .link.gone text { fill: #8d97a6; font-weight: 400; }
#graph .link.suspect .edge { stroke: var(--red); }
#graph .link.bad .edge { stroke: var(--red); stroke-width: 3.4; }
#graph .link.bad text { fill: var(--red); font-weight: 650; }
#graph .user { fill: var(--soft); font-size: 12.5px; }
#graph .user .who { font-weight: 650; fill: var(--ink); }
#graph .user.device .who { fill: var(--blue); }
#graph .user.quiet, #graph .user.quiet .who { fill: #98a2b0; font-weight: 400; }
#graph .user .fresh { fill: var(--orange); font-weight: 650; }
#graph .user .lost { stroke: none; fill: #8d97a6; text-decoration: line-through; }
#graph .user .busy { fill: var(--blue); font-weight: 650; }
#graph .user.stale, #graph .user.stale tspan { fill: var(--red); font-weight: 650; }
#graph .user.suspect .who,
#graph .user.blamed .who, #graph .user.blamed .busy { fill: var(--red); }
#graph .badge rect { fill: var(--blue); }
#graph .badge.zero rect { fill: #fff; stroke: var(--blue); }
#graph .badge text { fill: #fff; font-weight: 650; }
#graph .badge.zero text { fill: var(--blue); }
#legend { display: flex; flex-wrap: wrap; gap: 2px 16px; padding: 0 14px 7px; font-size: 12px;
          color: var(--soft); }
#legend i { display: inline-block; width: 18px; height: 11px; margin-right: 5px;
            border: 1.3px solid #8894a6; border-radius: 2px; }
#l-frozen i { height: 0; border: 0; border-top: 3px solid var(--frozen); vertical-align: middle; }
#l-drained i { background: repeating-linear-gradient(135deg, #fff 0 3px, #b4bdcb 3px 4px); }
#l-draining i { background: repeating-linear-gradient(135deg, #fff 0 3px, #e2e6ec 3px 4px); }
#l-gone i { border: 1.3px dotted #8d97a6; }
#l-new i { border-color: var(--green); }
#l-changed i { border-color: var(--orange); }
#l-filter i { border-style: dashed; }
#l-flight i { background: var(--blue); border-color: var(--blue); border-radius: 6px; }
#l-suspect i { border-color: var(--red); }
#l-bad i { border-color: var(--red); background: var(--red-soft); }
#empty { margin: auto; color: var(--soft); }
#now { flex: none; border-top: 1px solid var(--line); padding: 7px 14px; height: 152px; overflow: auto;
       font-size: 13px; }
#now p { display: flex; margin: 0; color: var(--soft); }
#now p:first-child, #now .telling, #now .act { color: var(--ink); }
#now .telling, #now .act { font-weight: 600; }
#now .deviation { color: var(--orange); }
#now .bug { color: var(--violet); font-weight: 600; }
#now .failure { color: var(--red); font-weight: 600; }
#now .kind { flex: none; width: 62px; color: var(--soft); font-weight: 400; }
noscript pre { padding: 0 20px; overflow: auto; }
@media (max-height: 860px) {
  #now { height: 118px; }
  header { padding-top: 8px; }
  .moment:is(button) span { -webkit-line-clamp: 1; }
}
@media (max-width: 1150px) {
  h1 { font-size: 18px; }
  #scenario { display: none; }
  .block { max-width: 104px; padding: 1px 5px; }
  #lanes td { min-width: 56px; }
  .moment:is(button) i { width: 54px; font-size: 11.5px; }
  nav { gap: 4px; }
  nav button { padding: 0 7px; }
}
)css";

const char kReplayPageBody[] = R"html(
<span id="scenario"></span>
<details id="glossary"><summary>words used here</summary><dl>
<dt>node</dt><dd>an image, or a filter in front of one; what it stands on is drawn below it</dd>
<dt>filter</dt><dd>a node that only passes requests on; jobs put one above what they work on</dd>
<dt>base</dt><dd>the image that a job leaves below its result, and links to in the end</dd>
<dt>root</dt><dd>a link that leads to a node from outside the graph: that by which a disk, a job or the
monitor holds it</dd>
<dt>main node</dt><dd>the node that a job was started on; it holds the others that it needs as well</dd>
<dt>orphan</dt><dd>a node to which no link leads any more; it is closed</dd>
<dt>frozen</dt><dd>a link that only one holder may change, for as long as its job runs</dd>
<dt>drained section</dt><dd>from when somebody asks for rest at some nodes to when they end that;
drain 1, drain 2 in the order in which they begin. <strong>Draining</strong>: requests are still on their way.
<strong>Drained</strong>: none is, but for the drainer's own, and jobs above wait, so the graph can be
changed</dd>
<dt>in flight</dt><dd>requests that a node is working on; beside a user ("under way"): those of its
own that it has not been told the end of</dd>
<dt>claims</dt><dd>nobody else may start an operation on the node</dd>
<dt>marks</dt><dd>what a mirror has yet to copy, or to copy again because it was written to</dd>
<dt>pivot</dt><dd>the moment in which a mirror moves the guest from the old image to the copy</dd>
<dt>monitor</dt><dd>whoever opened an image by name and keeps it open</dd>
<dt>version</dt><dd>which write it was: every write of the guest's has the next number</dd>
<dt>ro</dt><dd>read-only</dd>
<dt>lane</dt><dd>who runs: a coroutine (copies of one kind share a lane: #2, #3), the disks (i/o),
the clock (timers); one step runs at a time, from where it was woken to where it waits again</dd>
<dt>production</dt><dd>the order in which a real machine runs the same steps: first come, first
served</dd>
</dl></details>
<span id="signature"></span></header>
<nav>
<button id="first" title="first step (Home)">|&#x25C0;&#xFE0E;</button>
<button id="back" title="one step back (left arrow)">&#x25C0;&#xFE0E;</button>
<button id="play" title="play (space)">play</button>
<button id="forward" title="one step forward (right arrow)">&#x25B6;&#xFE0E;</button>
<button id="last" title="last step (End)">&#x25B6;&#xFE0E;|</button>
<button id="previous-moment" title="previous moment (p)">&lsaquo; moment</button>
<button id="next-moment" title="next moment (n)">moment &rsaquo;</button>
<button id="to-failure" title="where it failed (f)">failure</button>
<div id="track"><input id="slider" type="range" min="0" value="0" aria-label="step"></div>
<div id="where"></div>
</nav>
<main>
<div class="side">
<section id="wrong"><h2 id="verdict">What went wrong</h2><p id="plain"></p>
<pre id="failure-text"></pre>
<p id="arrows">a &lt;- b: a stands on b; [f]: f is a filter</p><div id="explanation"></div>
<details id="background"><summary>the scene, and what must hold</summary>
<div id="background-text"></div></details></section>
<section id="why"><h2>Moments</h2><div id="moments"></div>
<details id="orders"><summary id="orders-head"></summary><ul id="deviations"></ul></details></section>
<section id="paths"><div id="lanes"></div></section>
</div>
<section><div id="picture"><div id="jobs"></div>
<div id="canvas"><svg id="graph" xmlns="http://www.w3.org/2000/svg"></svg></div>
<div id="empty" hidden>this recording holds no picture of a graph</div>
<div id="legend"><span id="l-frozen"><i></i>frozen, by whom</span>
<span id="l-draining"><i></i>draining</span><span id="l-drained"><i></i>drained</span>
<span id="l-filter"><i></i>filter</span><span id="l-flight"><i></i>requests in flight</span>
<span id="l-changed"><i></i>changed in this step</span><span id="l-new"><i></i>new</span>
<span id="l-gone"><i></i>gone</span><span id="l-suspect"><i></i>the failure is about it</span>
<span id="l-bad"><i></i>wrong</span></div>
</div><div id="now"></div></section>
</main>
<footer id="again"><span>Run it again</span><code id="replay"></code>
<span id="replay-note">('-': production's order, no deviation)</span></footer>
)html";

}  // namespace millrace
