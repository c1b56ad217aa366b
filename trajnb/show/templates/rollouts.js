// Whole dialogues: what the user says, and slot by slot the reference beside the calls of each arm.
// A call is [text, response, failed, word]; the word says how it stands to the reference.
// A row with `heads` is a candidate with the attempts to repair it, one with `nodes` a tree of replies,
// each [parent, reply, response, what came of it, class].
unpack().then(({ arms, choices, rows, texts, notes }) => {
  let slots, here;

  const line = row => [
    el('span', {}, ...row.arms.map((marks, arm) => coloured(arms[arm], marks ?? ''))),
    el('span', {}, el('code', {}, row.d), el('small', {}, row.where)),
  ];

  const bothOf = (text, response) => [textOf(texts[text], 'line request'), textOf(texts[response], 'line response')];
  const callOf = (call, heads) => {
    if (!call) return el('div');
    const [text, response, failed, says] = call;
    if (says === 'missing') return el('div', {}, word(heads ? 'left out' : 'no call', heads));
    return el('div', {}, ...bothOf(text, response), word(says, heads || says === 'same'), failed ? word('error', false) : '');
  };

  // The first turn that fails, and in it the first call that is not the reference's.
  const firstFailure = (row, arm) => {
    const turn = row.turns.find(({ passed }) => passed[arm] === false);
    const calls = turn?.slots.map(slot => slot[arm + 1]) ?? [];
    return calls.find(call => call && call[3] !== 'same') ?? calls.findLast(Boolean);
  };

  const slotsOf = ({ heads }, turn, failures) => {
    const names = heads ?? ['reference', ...arms.map(({ name }) => name)];
    const grid = el('div', { className: 'slots' }, ...names.map(name => el('div', { className: 'head' }, name)));
    grid.style.setProperty('--arms', names.length - 1);
    for (const [reference, ...calls] of turn.slots) {
      const cells = calls.map((call, arm) => {
        const node = callOf(call, heads);
        if (call && call === failures[arm]) {
          node.className = 'first';
          node.prepend(word(`${arms[arm].name}: first failure`, false));
        }
        return node;
      });
      cells.unshift(heads && reference ? el('div', {}, ...bothOf(...reference)) : el('div', {}, reference ? textOf(texts[reference[0]], 'line gold') : ''));
      slots.push(cells);
      grid.append(...cells);
    }
    return grid;
  };

  const userOf = (text, which = '') => textOf(`User${which}: ${texts[text] ?? '(what the user says is in the corpus)'}`, 'line user');

  // The replies to a state; what lies beside the success path is folded.
  const treeOf = (row, state) => {
    const items = row.nodes.flatMap(([parent, text, response, says, kind], place) => {
      if (parent !== state) return [];
      const said = el('div', {}, ...bothOf(text, response), el('small', {}, says));
      slots.push([said]);
      const below = treeOf(row, place);
      return el('li', { className: kind }, said, below ? el('details', { open: kind === 'path' }, el('summary', {}, 'and then'), below) : '');
    });
    return items.length ? el('ol', { className: 'tree' }, ...items) : '';
  };

  const turnOf = (row, turn, number, failures) => el('section', { className: 'turn' },
    userOf(turn.user, row.heads ? '' : ` turn ${number + 1}`),
    el('small', {}, ...(row.heads?.slice(1) ?? arms.map(({ name }) => name)).map((name, arm) => turn.passed[arm] === null ? '' : word(`${name} ${'✗✓'[+turn.passed[arm]]}`, turn.passed[arm]))),
    turn.slots.length ? slotsOf(row, turn, failures) : el('p', {}, 'The reference makes no call here.'));

  const move = to => {
    if (!slots[to]) return;
    for (const cell of slots[here] ?? []) cell.classList.remove('here');
    here = to;
    for (const cell of slots[here]) {
      cell.classList.add('here');
      for (let fold = cell.closest('details'); fold; fold = fold.parentElement.closest('details')) fold.open = true;
    }
    slots[here][0].scrollIntoView({ block: 'nearest' });
  };

  const show = row => {
    slots = [];
    here = undefined;
    const failures = row.arms.map((_, arm) => firstFailure(row, arm));
    return [
      el('h2', {}, row.d), el('small', {}, `${row.where} · ← → one call · j k one row`),
      ...notes.map(note => textOf(note, 'note')),
      row.arms.length ? tableOf([['', 'user turns'], ...arms.map(({ name }, arm) => [name, row.arms[arm] ?? 'not played'])]) : '',
      ...row.nodes ? [userOf(row.user), treeOf(row, -1)] : row.turns.map((turn, number) => turnOf(row, turn, number, failures)),
    ];
  };

  const shown = () => move(Math.max(0, slots.findIndex(cells => cells.some(cell => cell.className === 'first'))));

  const numbers = row => row.nodes?.flatMap(node => node.slice(1, 3)) ?? row.turns.flatMap(({ user, slots: all }) =>
    [user, ...all.flatMap(slot => slot.flatMap(call => call?.slice(0, 2)))]);
  const says = row => [row.d, row.where, ...numbers(row).map(text => texts[text])].join('\n');
  const table = found => [
    ['dialogue_id', 'turn', 'slot', 'reference', ...arms.flatMap(({ name }) => [name, `${name}, got`, `${name}, word`])],
    ...found.filter(row => row.arms.length).flatMap(row => row.turns.flatMap((turn, number) => turn.slots.map(([reference, ...calls], place) =>
      [row.d, number, place, texts[reference?.[0]], ...calls.flatMap(call => call ? [texts[call[0]], texts[call[1]], call[3]] : ['', '', ''])]))),
  ];

  browse({ rows, choices, says, line, show, shown, table, keys: { ArrowRight: () => move(here + 1), ArrowLeft: () => move(here - 1) } });
});
