'use strict';
// Takes the rows out of the page and puts back the requested ones, a hundred at a time: ten thousand rows are slow to lay
// out and quick to search. Builds elements only, never HTML from text.
document.documentElement.className = 'js';
addEventListener('DOMContentLoaded', () => {
  const STEP = 100, RANK = ['good', 'calm', 'warn', 'bad'];
  const WORD = { good: 'all done', calm: 'all done', warn: 'attention', bad: 'something failed' };
  const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');
  const at = id => document.getElementById(id);
  const make = (name, more = {}, ...inside) => {
    const element = Object.assign(document.createElement(name), more);
    element.append(...inside);
    return element;
  };
  // '2026', '2026-12' or '2026-12-08' for people
  const spoken = days => {
    const [year, month, day] = days.split('-');
    return [day && +day, month && MONTHS[month - 1], year].filter(Boolean).join(' ');
  };
  const runCount = number => number.toLocaleString('en') + (number === 1 ? ' run' : ' runs');
  const table = at('runs'), body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const runs = [...body.rows].map(row => {
    const cells = [...row.cells].map(cell => cell.textContent), words = cells[0];
    cells[0] = row.querySelector('time').dateTime;
    return { row, cells, text: (cells.join(' ') + ' ' + words).toLowerCase(), tone: row.className, day: cells[0].slice(0, 10), n: +row.dataset.n };
  });
  const words = at('words'), trouble = at('trouble');
  // the address keeps the search, so that it is still there when the reader comes back from a report
  const asked = new URLSearchParams(location.hash.slice(1));
  const state = { column: 0, up: false, days: asked.get('days') ?? '', limit: STEP };
  words.value = asked.get('words') ?? '';
  trouble.checked = asked.has('trouble');
  let found = [];

  // --- the list ---
  function look() {
    const parts = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    found = runs.filter(run => run.day.startsWith(state.days)
      && (!trouble.checked || RANK.indexOf(run.tone) > 1) && parts.every(word => run.text.includes(word)));
    const sign = state.up ? 1 : -1, c = state.column;
    found.sort((a, b) => a.cells[c] < b.cells[c] ? -sign : a.cells[c] > b.cells[c] ? sign
      : a.cells[0] < b.cells[0] ? 1 : a.cells[0] > b.cells[0] ? -1 : b.n - a.n);
    show();
  }
  function show() {
    const shown = found.slice(0, state.limit);
    body.replaceChildren(...shown.map(run => run.row));
    table.className = 'runs ready';
    heads.forEach((head, c) => head.setAttribute('aria-sort', c !== state.column ? 'none' : state.up ? 'ascending' : 'descending'));
    const count = found.length.toLocaleString('en') + ' of ' + runCount(runs.length);
    at('shown').replaceChildren(count + (state.days ? ', ' + spoken(state.days) : '') + (shown.length < found.length ? '; the first ' + shown.length + ' are shown. ' : '. '));
    if (state.days) at('shown').append(make('button', { type: 'button', className: 'act', textContent: 'All days', onclick: () => choose(state.days) }));
    at('more').hidden = shown.length === found.length;
  }
  heads.forEach((head, c) => {
    const button = make('button', { type: 'button', textContent: head.textContent });
    button.onclick = () => {
      state.up = state.column === c ? !state.up : c !== 0;
      state.column = c;
      look();
    };
    head.replaceChildren(button);
  });
  at('more').append(make('button', { type: 'button', className: 'act', textContent: 'Show more', onclick: () => {
    const next = state.limit;
    state.limit += 10 * STEP;
    show();
    found[next].row.querySelector('a')?.focus({ preventScroll: true });
  } }));
  function again() {
    const now = new URLSearchParams();
    if (words.value) now.set('words', words.value);
    if (state.days) now.set('days', state.days);
    if (trouble.checked) now.set('trouble', '');
    history.replaceState(null, '', '#' + now);
    state.limit = STEP;
    look();
  }
  words.addEventListener('input', again);
  trouble.addEventListener('change', again);
  at('search').addEventListener('submit', event => event.preventDefault());

  // --- the calendar ---
  const days = new Map();
  for (const run of runs) {
    const day = days.get(run.day) ?? { count: 0, tone: 'good' };
    day.count += 1;
    if (RANK.indexOf(run.tone) > RANK.indexOf(day.tone)) day.tone = run.tone;
    days.set(run.day, day);
  }
  const known = [...days.keys()].sort(), first = known[0] ?? '', last = known.at(-1) ?? '';
  const buttons = [];
  const date = (year, month, day) => new Date(Date.UTC(year, month, day)).toISOString().slice(0, 10);
  function choose(prefix) {
    state.days = state.days === prefix ? '' : prefix;
    document.querySelectorAll('[data-days]').forEach(button => button.setAttribute('aria-pressed', button.dataset.days === state.days));
    again();
  }
  function pick(prefix, more) {
    const button = make('button', { type: 'button', onclick: () => choose(prefix), ...more });
    button.dataset.days = prefix;
    button.setAttribute('aria-pressed', prefix === state.days);
    return button;
  }
  function cell(day) {
    const entry = days.get(day), number = String(+day.slice(8));
    if (!entry) {
      const gap = day > first && day < last;
      const span = make('span', { className: gap ? 'day gap' : 'day outside', textContent: number, title: gap ? spoken(day) + ': no runs' : '' });
      if (gap) span.append(make('span', { className: 'unseen', textContent: ' no runs' }));
      return make('td', {}, span);
    }
    const name = new Date(day + 'T00:00:00Z').toLocaleString('en-GB', { day: 'numeric', month: 'long', year: 'numeric', timeZone: 'UTC' });
    const label = name + ': ' + runCount(entry.count) + ', ' + WORD[entry.tone];
    const button = pick(day, { className: 'day ' + entry.tone, textContent: number, title: label, tabIndex: -1 });
    button.setAttribute('aria-label', label);
    buttons.push(button);
    return make('td', {}, button);
  }
  function month(year, m) {
    const prefix = date(year, m, 1).slice(0, 7), lead = (new Date(Date.UTC(year, m, 1)).getUTCDay() + 6) % 7;
    const size = new Date(Date.UTC(year, m + 1, 0)).getUTCDate();
    const name = new Date(Date.UTC(year, m, 1)).toLocaleString('en', { month: 'long', timeZone: 'UTC' });
    const grid = make('table', { className: 'month' }, make('caption', {}, pick(prefix, { textContent: name, title: 'List ' + spoken(prefix) })));
    grid.createTHead().insertRow().append(...['Mo', 'Tu', 'We', 'Th', 'Fr', 'Sa', 'Su'].map(day => make('th', { scope: 'col', textContent: day })));
    const weeks = grid.createTBody();
    for (let slot = 0; slot < lead + size; slot += 1) {
      if (slot % 7 === 0) weeks.insertRow();
      weeks.rows[weeks.rows.length - 1].append(slot < lead ? make('td') : cell(date(year, m, slot - lead + 1)));
    }
    return grid;
  }
  const years = known.length ? [...Array(+last.slice(0, 4) - +first.slice(0, 4) + 1).keys()].map(i => +last.slice(0, 4) - i) : [];
  for (const year of years) {
    const from = String(year) === first.slice(0, 4) ? +first.slice(5, 7) - 1 : 0;
    const to = String(year) === last.slice(0, 4) ? +last.slice(5, 7) - 1 : 11;
    const months = make('div', { className: 'months' });
    for (let m = from; m <= to; m += 1) months.append(month(year, m));
    at('years').append(make('details', { open: year === years[0] }, make('summary', { textContent: String(year) }), months));
  }
  // one stop for the Tab key; the arrows go from day to day
  buttons.sort((a, b) => a.dataset.days < b.dataset.days ? -1 : 1);
  if (buttons.length) buttons.at(-1).tabIndex = 0;
  at('years').addEventListener('keydown', event => {
    const here = buttons.indexOf(event.target);
    const week = to => date(+event.target.dataset.days.slice(0, 4), event.target.dataset.days.slice(5, 7) - 1, +event.target.dataset.days.slice(8) + to);
    const next = here < 0 ? undefined : {
      ArrowLeft: () => buttons[here - 1], ArrowRight: () => buttons[here + 1], Home: () => buttons[0], End: () => buttons.at(-1),
      ArrowUp: () => buttons.findLast(button => button.dataset.days <= week(-7)), ArrowDown: () => buttons.find(button => button.dataset.days >= week(7)),
    }[event.key];
    const target = next && next();
    if (!target) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    target.tabIndex = 0;
    target.closest('details').open = true;
    target.focus();
  });

  // --- missing numbers, and the title ---
  const numbers = new Set(runs.map(run => run.n)), missing = [];
  let top = 0;
  for (const run of runs) {
    top = Math.max(top, run.n);
    for (const span of (run.row.dataset.gone ?? '').split(' ').filter(Boolean)) {
      const [from, to] = span.split('-').map(Number);
      for (let n = from; n <= to; n += 1) numbers.add(n);
    }
  }
  for (let n = 1; n <= top; n += 1) {
    if (numbers.has(n)) continue;
    const from = n;
    while (n < top && !numbers.has(n + 1)) n += 1;
    missing.push(from === n ? String(n) : from + ' to ' + n);
  }
  if (missing.length) {
    at('gaps').textContent = 'These numbers of the chain are not in this list: ' + missing.slice(0, 20).join(', ') + (missing.length > 20 ? ' and more' : '')
      + '. Run “sh verify.sh” to see whether they are missing from the archive too.';
    at('gaps').hidden = false;
  }
  at('title').textContent = (runs.length ? runCount(runs.length) : 'No runs') + (first ? ', ' + spoken(first) + (first === last ? '' : ' to ' + spoken(last)) : '');
  document.title = 'Archive: ' + at('title').textContent;
  at('calendar').hidden = at('skip').hidden = !runs.length;
  at('search').hidden = at('shown').hidden = !runs.length;
  look();
});
