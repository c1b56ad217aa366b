// What both pages share: data in, a list that is chosen from, an address that keeps the choice.
// Text of records reaches the page as text nodes and properties, never as markup.
const $ = id => document.getElementById(id);

const el = (tag, properties, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};

// The style sheet folds what has many lines; a click unfolds it.
const textOf = (text, kind = '') => el('div', {
  className: `text ${kind}`,
  onclick() { this.classList.toggle('open'); },
}, text.trim() || '(none)');

// Lines of cells, the first line and the first cell of each being headings.
const tableOf = lines => el('table', {}, ...lines.map((cells, y) => el('tr', {}, ...cells.map((cell, x) =>
  el(x && y ? 'td' : 'th', {}, ...[cell].flat())))));

const word = (text, good) => el('b', { className: `word ${good ? 'right' : 'wrong'}` }, text);

const coloured = ({ name, colour }, text) => {
  const node = el('span', { className: 'strip', title: name }, text);
  node.style.setProperty('--arm', colour);
  return node;
};

const unpack = async () => {
  const bytes = Uint8Array.from(atob($('data').textContent), one => one.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Response(stream).json();
};

// At most 500 rows are listed, which the style sheet says.
// `choices` are [key, label, [[value, words], ...]]; `rows` have an `id`, and `tags` with the values
// that a row goes with by key. `says(row)` is what a search looks through, `line(row)` and `show(row)`
// are nodes of the list and of the reader, `shown()` comes after them; `table(rows)` are lines of
// cells, `keys` acts by key.
const browse = ({ rows, choices, says, line, show, shown, table, keys }) => {
  let found, current;

  const selects = choices.map(([key, label, options]) => {
    const own = options.map(([value, words]) => Object.assign(new Option('', value), { words: `${label}: ${words}` }));
    const select = el('select', { name: key, ariaLabel: label, own, onchange: () => refresh() }, new Option(`${label}: any`, ''), ...own);
    $('tally').before(select);
    return select;
  });
  const goes = (row, select, value = select.value) => !value || row.tags[select.name].includes(value);

  // Rows that pass all choices, and beside each option how many would pass with it.
  const choose = () => {
    const words = $('search').value.toLowerCase();
    const options = selects.flatMap(select => select.own);
    for (const option of options) option.count = 0;
    found = [];
    for (const row of rows) {
      if (words && !(row.says ??= says(row).toLowerCase()).includes(words)) continue;
      const against = selects.filter(select => !goes(row, select));
      if (!against.length) found.push(row);
      if (against.length > 1) continue;
      for (const select of against.length ? against : selects)
        for (const option of select.own) option.count += goes(row, select, option.value);
    }
    for (const option of options) {
      option.text = `${option.words} · ${option.count}`;
      option.hidden = !option.count && !option.selected;
    }
  };

  const save = () => {
    const kept = [...selects.map(({ name, value }) => [name, value]), ['q', $('search').value], ['item', current?.id]];
    const address = new URLSearchParams(kept.filter(([, value]) => value));
    // a page in a frame without an origin has no history
    try { history.replaceState(null, '', `#${address}`); } catch {}
  };

  const open = row => {
    current?.button?.removeAttribute('aria-current');
    current = row;
    row.button?.setAttribute('aria-current', true);
    row.button?.scrollIntoView({ block: 'nearest' });
    $('reader').replaceChildren(...show(row));
    $('reader').scrollTop = 0;
    $('reader').scrollIntoView();
    shown?.();
    save();
  };

  const refresh = () => {
    choose();
    $('list').replaceChildren(...found.slice(0, 500).map(row =>
      row.button = el('button', { onclick: () => open(row) }, ...line(row))));
    $('tally').textContent = `${found.length} of ${rows.length}`;
    current?.button?.setAttribute('aria-current', true);
    save();
  };

  const start = () => {
    const state = new URLSearchParams(location.hash.slice(1) || $('data').title);
    for (const select of selects) select.value = state.get(select.name) ?? '';
    $('search').value = state.get('q') ?? '';
    const wanted = state.get('item');
    refresh();
    const row = rows.find(({ id }) => id === wanted) ?? found[0];
    if (row) open(row);
    if (!wanted) scrollTo(0, 0);
  };

  const step = by => {
    const next = found[found.indexOf(current) + by];
    if (next) open(next);
  };
  const acts = { j: () => step(1), k: () => step(-1), '/': () => $('search').focus(), ...keys };
  onkeydown = event => {
    if (event.ctrlKey || event.target.matches('input, select') || !acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  };

  // A cell that a spreadsheet would take for a formula is kept from it.
  const cell = value => `"${`${value ?? ''}`.replace(/^[=+@]/, "'$&").replaceAll('"', '""')}"`;
  $('csv').onclick = () => {
    const lines = table(found).map(cells => cells.map(cell).join());
    const href = URL.createObjectURL(new Blob([lines.join('\r\n')]));
    el('a', { href, download: `${document.title}.csv` }).click();
  };

  $('search').oninput = refresh;
  onhashchange = start;
  start();
  document.body.dataset.ready = true;
};
