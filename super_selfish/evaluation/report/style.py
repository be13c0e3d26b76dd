"""How the page looks: on a phone, on a wide screen, in the dark, on paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fcfcfa; --ink: #1f2328; --quiet: #5d646c; --line: #dcdcd6; --plate: #ffffff;
  --accent: #00687a; --good: #2a7f62; --bad: #b83a4b; --wash: #f1f1ec;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181b; --ink: #e4e5e3; --quiet: #9ba1a8; --line: #33373c; --plate: #ffffff;
    --accent: #6cc3d2; --good: #6fc7a3; --bad: #f08a98; --wash: #1f2226;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
a { color: var(--accent); text-underline-offset: 0.2em; }
.page { max-width: 62rem; margin: 0 auto; padding: 2rem 1.15rem 4rem; }
h1, h2, h3, .lead { font-family: Charter, "Iowan Old Style", Georgia, "Times New Roman", serif; }
h1 { font-size: clamp(2rem, 6vw, 2.9rem); line-height: 1.1; margin: 0 0 0.5rem; font-weight: 600;
     letter-spacing: -0.01em; }
h2 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 0.6rem; font-weight: 600; }
h3 { font-size: 1.05rem; margin: 1.8rem 0 0.4rem; font-weight: 600; }
p { margin: 0 0 0.9rem; max-width: 42rem; }
.eyebrow { color: var(--quiet); margin: 0 0 0.4rem; font-size: 0.9rem; }
.lead { font-size: 1.2rem; line-height: 1.5; }
.quiet, figcaption { color: var(--quiet); font-size: 0.9rem; line-height: 1.5; }
section { border-top: 1px solid var(--line); padding-top: 1.5rem; margin-top: 2.2rem;
          scroll-margin-top: 1rem; }
nav ol { list-style: none; margin: 1.2rem 0 0; padding: 0; display: flex; flex-wrap: wrap;
         gap: 0.1rem 1.1rem; font-size: 0.92rem; }
nav a { color: var(--quiet); text-decoration: none; display: block; padding: 0.2rem 0; }
nav a:hover, nav a:focus { color: var(--accent); text-decoration: underline; }

.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.6rem, 1fr));
         gap: 1.1rem 1.4rem; margin: 1.3rem 0 1.5rem; padding: 0; }
.facts div { border-top: 2px solid var(--ink); padding-top: 0.45rem; }
.facts dt { color: var(--quiet); font-size: 0.85rem; }
.facts dd { margin: 0; font-size: 1.35rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.facts dd small { font-size: 0.85rem; color: var(--quiet); }
.note { border-left: 3px solid var(--accent); background: var(--wash); padding: 0.7rem 1rem;
        margin: 1rem 0; max-width: 42rem; }
.note p:last-child { margin: 0; }
.note.bad { border-color: var(--bad); }
ul { margin: 0 0 0.9rem; padding-left: 1.1rem; max-width: 42rem; }
.absent { color: var(--quiet); font-style: italic; }

figure { margin: 1rem 0 1.5rem; }
figcaption { margin-top: 0.5rem; max-width: 42rem; }
img { max-width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; }
.plate { background: var(--plate); border: 1px solid var(--line); border-radius: 4px;
         padding: 0.35rem; width: fit-content; max-width: 100%; }
.plates { display: grid; gap: 0 1rem;
          grid-template-columns: repeat(auto-fill, minmax(min(100%, 18.5rem), 1fr)); }
.plates figure { margin: 0.4rem 0; }
.plates .plate { width: 100%; }
.plates img { width: 100%; }
.plates figcaption { margin-top: 0.3rem; font-size: 0.82rem; line-height: 1.35; }
.pixels { image-rendering: pixelated; }

.exhibit { display: grid; gap: 1.4rem 2rem; margin: 1.2rem 0 1.5rem;
           grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); }
.group { display: flex; flex-wrap: wrap; gap: 0.6rem; }
.group figure { margin: 0; flex: 0 1 6.1rem; min-width: 4.2rem; }
.group.many figure { flex-basis: 4.4rem; }
@media (max-width: 32rem) { .group figure { flex-basis: calc(25% - 0.6rem); } }
.group img { width: 100%; border-radius: 2px; background: #fff; }
.group figcaption { margin-top: 0.3rem; white-space: pre-line; font-size: 0.78rem;
                    line-height: 1.3; }
.right figcaption { color: var(--good); }
.wrong figcaption { color: var(--bad); }

table { border-collapse: collapse; font-size: 0.92rem; line-height: 1.4;
        font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: 0.32rem 1.4rem 0.32rem 0;
         border-bottom: 1px solid var(--line); }
tbody th { font-weight: 400; color: var(--quiet); white-space: nowrap; }
thead th { font-weight: 600; white-space: nowrap; }
td { overflow-wrap: anywhere; min-width: 4.5rem; }
thead + tbody td { white-space: nowrap; }
.columns { columns: 22rem 2; column-gap: 3rem; }
.columns > div { break-inside: avoid; padding-bottom: 1.4rem; }
.columns h3 { margin-top: 0; }
pre { overflow-x: auto; background: var(--wash); padding: 0.8rem 1rem; border-radius: 4px;
      font: 0.82rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
details { margin: 1rem 0; }
summary { cursor: pointer; color: var(--accent); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
footer { border-top: 1px solid var(--line); margin-top: 3rem; padding-top: 1rem; }

@media (min-width: 78rem) {
  .page { max-width: 76rem; display: grid; grid-template-columns: 11.5rem minmax(0, 1fr);
          gap: 0 3rem; }
  .page > nav { grid-column: 1; grid-row: 1 / span 3; position: sticky; top: 2rem;
                align-self: start; }
  .page > nav ol { flex-direction: column; margin: 0; }
  .page > header, .page > main, .page > footer { grid-column: 2; }
}
@media print {
  :root { --paper: #fff; --ink: #000; --quiet: #444; --line: #bbb; --wash: #f4f4f4;
          --accent: #00525f; --good: #1c6049; --bad: #8f2635; color-scheme: light; }
  body { font-size: 10.5pt; }
  .page { max-width: none; padding: 0; display: block; }
  nav { display: none; }
  figure, tr, .facts, .note, .group { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; }
  .plate img { min-width: 0 !important; }
}
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
"""
"""CSS of a report."""
