'use strict';
// Searches and sorts the table of accounts, which is complete without it. It shows and hides rows and makes no HTML.
addEventListener('DOMContentLoaded', () => {
  const at = id => document.getElementById(id);
  const table = at('accounts'), body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const rows = [...body.rows].map(row => {
    const cells = [...row.cells].map(cell => cell.dataset.sort ?? cell.textContent);
    return { row, cells, text: [...row.cells].map(cell => cell.textContent).join(' ').toLowerCase() };
  });
  const words = at('words'), trouble = at('trouble');
  function look() {
    const parts = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const one of rows) {
      const fits = (!trouble.checked || one.row.dataset.look === '1') && parts.every(word => one.text.includes(word));
      one.row.hidden = !fits;
      shown += fits;
    }
    at('shown').textContent = `${shown.toLocaleString('en')} of ${rows.length.toLocaleString('en')} ${rows.length === 1 ? 'account' : 'accounts'}`;
  }
  let column = -1, up = true;
  heads.forEach((head, c) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = head.textContent;
    button.onclick = () => {
      up = column === c ? !up : true;
      column = c;
      const number = head.dataset.number === '1', sign = up ? 1 : -1;
      rows.sort((a, b) => sign * (number ? a.cells[c] - b.cells[c] : a.cells[c].localeCompare(b.cells[c], 'en')));
      body.append(...rows.map(one => one.row));
      heads.forEach((other, n) => other.setAttribute('aria-sort', n !== c ? 'none' : up ? 'ascending' : 'descending'));
    };
    head.replaceChildren(button);
  });
  words.addEventListener('input', look);
  trouble.addEventListener('change', look);
  at('search').addEventListener('submit', event => event.preventDefault());
  at('search').hidden = at('shown').hidden = false;
  look();
});
