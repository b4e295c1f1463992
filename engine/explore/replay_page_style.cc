#include "millrace/engine/explore/replay_page_parts.h"

namespace millrace {

const char kReplayPageStyle[] = R"css(
:root { --ink: #1d2430; --soft: #5d6878; --line: #dde2e9; --paper: #fff; --ground: #f4f6f9;
        --blue: #2563c9; --blue-soft: #e4edfb; --orange: #c25a00; --orange-soft: #fff0dd;
        --red: #c0202f; --red-soft: #fdeaec; --frozen: #0f7f8c; }
* { box-sizing: border-box; }
html, body { height: 100%; margin: 0; }
body { display: grid; grid-template-rows: auto auto minmax(0, 1fr) auto; background: var(--ground);
       color: var(--ink); font: 14px/1.45 "Inter", "Segoe UI", system-ui, "Liberation Sans",
       "DejaVu Sans", sans-serif; }
code, .mono, pre { font-family: "JetBrains Mono", "SF Mono", Consolas, "Liberation Mono",
                   "DejaVu Sans Mono", monospace; font-size: 12px; }
header { display: flex; align-items: baseline; gap: 14px; padding: 14px 20px 8px; }
h1 { margin: 0; font-size: 20px; font-weight: 650; letter-spacing: -0.01em; }
#scenario { color: var(--soft); }
#signature { margin-left: auto; padding: 3px 12px; border-radius: 12px; font-weight: 600;
             background: var(--red-soft); color: var(--red); }
#signature.well { background: #e5f5e9; color: #1a7337; }
nav { display: flex; align-items: center; gap: 6px; padding: 4px 20px 12px; }
button { height: 30px; min-width: 34px; padding: 0 10px; border: 1px solid var(--line);
         border-radius: 6px; background: var(--paper); color: var(--ink); font: inherit;
         cursor: pointer; }
button:hover:enabled { border-color: var(--blue); color: var(--blue); }
button:disabled { opacity: 0.4; cursor: default; }
#track { position: relative; flex: 1; margin: 0 12px; height: 30px; }
#slider { width: 100%; margin: 7px 0 0; accent-color: var(--blue); }
.tick { position: absolute; top: 0; width: 3px; height: 8px; margin-left: -1.5px;
        border-radius: 1px; background: var(--orange); }
.tick.failure { background: var(--red); }
#where { min-width: 190px; text-align: right; font-variant-numeric: tabular-nums; }
#where b { font-size: 16px; }
#where span { color: var(--soft); }
main { display: grid; grid-template-columns: minmax(0, 11fr) minmax(0, 9fr); gap: 12px;
       padding: 0 20px; min-height: 0; }
section { display: flex; flex-direction: column; min-height: 0; border: 1px solid var(--line);
          border-radius: 8px; background: var(--paper); overflow: hidden; }
h2 { margin: 0; font-size: 11px; font-weight: 650; letter-spacing: 0.06em;
     text-transform: uppercase; color: var(--soft); }
#lanes { flex: 1; overflow: auto; scroll-behavior: auto; }
#lanes table { border-collapse: separate; border-spacing: 0; min-width: 100%; }
#lanes th { position: sticky; top: 0; z-index: 1; padding: 9px 8px 7px; background: var(--paper);
            border-bottom: 1px solid var(--line); font-size: 12px; font-weight: 650;
            text-align: left; white-space: nowrap; }
#lanes td { padding: 1px 4px; border-left: 1px solid #eef1f5; min-width: 92px; }
#lanes th.number, #lanes td.number { min-width: 44px; padding: 0 8px; border-left: 0;
            text-align: right; color: var(--soft); font-weight: 400;
            font-variant-numeric: tabular-nums; font-size: 12px; }
.block { display: block; height: 22px; padding: 1px 8px; border: 1px solid #c9d8f0;
         border-radius: 4px; background: var(--blue-soft); font-size: 12px; line-height: 18px;
         white-space: nowrap; overflow: hidden; text-overflow: ellipsis; max-width: 230px;
         cursor: pointer; }
tr.future .block { opacity: 0.45; }
tr.current td { background: #eef3fb; }
.block.deviation { border-color: #e8a860; background: var(--orange-soft); }
.block.deviation::before { content: "\2731\00a0"; color: var(--orange); }
.block.failed { border-color: #e59aa2; background: var(--red-soft); }
.block.current { border-color: var(--blue); background: var(--blue); color: #fff; }
.block.current.deviation { border-color: var(--orange); background: var(--orange); }
.block.current.deviation::before { color: #fff; }
.block.current.failed { border-color: var(--red); background: var(--red); }
tr.first-deviation td { border-top: 2px solid var(--orange); }
#picture { flex: 1; min-height: 0; display: flex; flex-direction: column; }
#picture .head { display: flex; gap: 12px; align-items: baseline; padding: 9px 14px 0; }
#chain { color: var(--ink); white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
#graph { flex: 1; min-height: 0; width: 100%; }
#graph text { font-size: 12px; fill: var(--ink); }
#graph .name { font-weight: 650; font-size: 13px; }
#graph .small { font-size: 11px; fill: var(--soft); }
#graph .box { fill: #f7f9fc; stroke: #8894a6; stroke-width: 1.3; }
#graph .filter .box { stroke-dasharray: 5 3; fill: #fff; }
#graph .drained .box { fill: url(#hatch); }
#graph .dead .box { fill: var(--red-soft); stroke: var(--red); stroke-width: 2; }
#graph .dead .name, #graph .dead .small { fill: var(--red); }
#graph .new .box { stroke: #1a7337; stroke-width: 2; }
#graph .edge { stroke: #8894a6; stroke-width: 1.4; fill: none; }
#graph .frozen .edge { stroke: var(--frozen); stroke-width: 3; }
#graph .frozen text { fill: var(--frozen); font-weight: 650; }
#graph .gone .edge { stroke: var(--red); stroke-dasharray: 3 3; }
#graph .gone text { fill: var(--red); }
#graph .badge rect { fill: var(--blue); }
#graph .badge text { fill: #fff; font-weight: 650; font-size: 11px; }
#legend { display: flex; flex-wrap: wrap; gap: 4px 14px; padding: 0 14px 8px; font-size: 11px;
          color: var(--soft); }
#legend i { display: inline-block; width: 18px; height: 10px; margin-right: 5px;
            border: 1.3px solid #8894a6; border-radius: 2px; }
#legend .l-frozen { height: 0; border: 0; border-top: 3px solid var(--frozen);
                    vertical-align: middle; }
#legend .l-drained { background: repeating-linear-gradient(45deg, #fff 0 3px, #c4ccd8 3px 4px); }
#legend .l-dead { border-color: var(--red); background: var(--red-soft); }
#legend .l-new { border-color: #1a7337; }
#legend .l-filter { border-style: dashed; }
#empty { margin: auto; color: var(--soft); }
#now { border-top: 1px solid var(--line); padding: 8px 14px; height: 112px; overflow: auto; }
#now p { margin: 1px 0; }
#now .deviation { color: var(--orange); }
#now .failure { color: var(--red); font-weight: 600; }
#now .kind { display: inline-block; min-width: 56px; margin-right: 6px; color: var(--soft); }
footer { display: grid; grid-template-columns: minmax(0, 11fr) minmax(0, 9fr); gap: 12px;
         padding: 12px 20px 14px; }
footer section { padding: 10px 14px; max-height: 232px; overflow: auto; }
footer { font-size: 13px; }
footer p { margin: 4px 0 0; }
footer p.soft { color: var(--soft); }
#failure-text { margin: 4px 0 0; white-space: pre-wrap; overflow-wrap: anywhere; }
#wrong { border-left: 4px solid var(--red); }
#wrong.well { border-left-color: #1a7337; }
#why { border-left: 4px solid var(--orange); }
#deviations { margin: 4px 0 0; padding: 0; list-style: none; }
#deviations li { padding: 1px 0; cursor: pointer; }
#deviations li:hover { color: var(--blue); }
#deviations b { color: var(--orange); margin-right: 6px; font-variant-numeric: tabular-nums; }
#deviations li.current { font-weight: 600; }
#replay { display: block; margin-top: 8px; padding: 5px 8px; border-radius: 4px;
          background: var(--ground); overflow-wrap: anywhere; user-select: all; }
#replay:empty, #explanation:empty { display: none; }
#explanation { white-space: pre-line; }
noscript pre { padding: 0 20px; overflow: auto; }
)css";

const char kReplayPageBody[] = R"html(
<span id="scenario"></span><span id="signature"></span></header>
<nav>
<button id="first" title="first step (Home)">|&#x25C0;&#xFE0E;</button>
<button id="back" title="one step back (left arrow)">&#x25C0;&#xFE0E;</button>
<button id="play" title="play (space)">play</button>
<button id="forward" title="one step forward (right arrow)">&#x25B6;&#xFE0E;</button>
<button id="last" title="last step (End)">&#x25B6;&#xFE0E;|</button>
<button id="previous-deviation" title="previous deviation (p)">&lsaquo; deviation</button>
<button id="next-deviation" title="next deviation (n)">deviation &rsaquo;</button>
<button id="to-failure" title="where it failed (f)">failure</button>
<div id="track"><input id="slider" type="range" min="0" value="0" aria-label="step"></div>
<div id="where"></div>
</nav>
<main>
<section><div id="lanes"></div></section>
<section><div id="picture">
<div class="head"><h2>Graph</h2><code id="chain"></code></div>
<svg id="graph" xmlns="http://www.w3.org/2000/svg" preserveAspectRatio="xMidYMid meet"></svg>
<div id="empty" hidden>this recording holds no picture of a graph</div>
<div id="legend"><span><i class="l-frozen"></i>frozen, by whom</span>
<span><i class="l-drained"></i>drained</span><span><i class="l-filter"></i>filter</span>
<span><i class="l-new"></i>new in this step</span>
<span><i class="l-dead"></i>died in this step</span></div>
</div><div id="now"></div></section>
</main>
<footer>
<section id="wrong"><h2 id="verdict">What went wrong</h2><p class="soft" id="explanation"></p>
<pre id="failure-text"></pre></section>
<section id="why"><h2>Where this run left production&rsquo;s order</h2><ul id="deviations"></ul>
<code id="replay"></code></section>
</footer>
)html";

}  // namespace millrace
