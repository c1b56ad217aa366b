// Held-out calls: which arm has them right, what each arm said, and with what it was asked.
// An answer is [text, call, exact, kind, log-likelihood, prompt tokens, arguments that are alike].
unpack().then(({ arms, choices, rows, kinds, texts, lines, calls, notes }) => {
  let stage = null;

  const sequence = (row, arm) => row.answers[arm]?.at ?? [];
  const final = (row, arm) => sequence(row, arm)[row.answers[arm]?.last];
  // ■ is right, □ is wrong, after each stage.
  const line = row => [
    el('span', {}, ...arms.map((arm, place) =>
      coloured(arm, sequence(row, place).map(one => one ? '□■'[one[2]] : ' ').join('')))),
    el('span', {}, el('code', {}, texts[row.gold] || '(text not kept)'), el('small', {}, row.where)),
  ];

  const code = text => el('code', {}, text);
  // What an answer gives beside what the gold call has.
  const compare = (wanted, given, alike) => {
    const same = alike || wanted === given;
    if (given === undefined) return wanted === undefined ? '' : word('missing');
    return [code(given), wanted === undefined ? word('extra') : word(same ? 'same' : 'differs', same)];
  };

  const answersOf = row => {
    const shown = [...arms.keys()].filter(arm => row.answers[arm]);
    const answers = shown.map(arm => sequence(row, arm)[stage] ?? final(row, arm));
    const [gold, ...given] = [row.call, ...answers.map(([, call]) => call)].map(call => new Map(calls[call]));
    const each = (head, wanted, says) => [head, wanted, ...answers.map(says)];
    const keys = new Set([gold, ...given].flatMap(map => [...map.keys()]));
    return tableOf([
      each('', 'gold', (_, place) => [coloured(arms[shown[place]], '■ '), arms[shown[place]].name]),
      each('', '', answer => word(`${'✗✓'[answer[2]]} ${kinds[answer[3]]}`, answer[2])),
      ...[...keys].map(key => each(key, code(gold.get(key) ?? ''), (answer, place) =>
        given[place].size ? compare(gold.get(key), given[place].get(key), answer[6]?.includes(key)) : word('no call'))),
      each('as written', '', answer => textOf(texts[answer[0]])),
      each('gold, prompt', '', answer => `${answer[4] ?? '–'} nats/token, ${answer[5]} tokens`),
    ]);
  };

  // Every answer over the stages; one that is clicked stands above.
  const stagesOf = row => tableOf([['', ...row.stages], ...arms.map(({ name }, arm) =>
    [name, ...sequence(row, arm).map((one, place) => one ? el('button', {
      className: one[2] ? 'right' : 'wrong',
      onclick: () => {
        stage = place;
        $('reader').replaceChildren(...show(row));
      },
    }, '✗✓'[one[2]]) : '')])]);

  const lineOf = number => {
    const [kind, text] = lines[number < 0 ? ~number : number];
    return textOf(texts[text], `line ${kind}${number < 0 ? ' hidden' : ''}`);
  };
  const promptsOf = ({ views, cue, documents }) => Object.entries(views ?? {}).map(([name, view]) => el('section', {},
    el('h3', {}, `${name} prompt`),
    el('details', {}, el('summary', {}, 'documents'), ...documents.map(lineOf)),
    ...view.map(lineOf),
    lineOf(cue)));

  const show = row => [
    el('h2', {}, row.where),
    el('small', {}, row.facts),
    ...notes.map(note => textOf(note, 'note')),
    textOf(texts[row.gold], 'line gold'),
    el('h3', {}, stage === null ? 'At the end' : `After ${row.stages[stage]}`),
    answersOf(row),
    el('h3', {}, 'Over stages'),
    stagesOf(row),
    el('div', { className: 'columns' }, ...promptsOf(row)),
  ];

  const said = (row, arm) => texts[final(row, arm)?.[0]];
  const says = row => [row.where, texts[row.gold], ...arms.map((_, arm) => said(row, arm))].join('\n');
  const table = found => [
    ['dialogue_id', 'step', 'run', 'gold', ...arms.flatMap(({ name }) => [name, `${name}, outcome`])],
    ...found.map(row => [row.d, row.s, row.run, texts[row.gold],
      ...arms.flatMap((_, arm) => [said(row, arm), kinds[final(row, arm)?.[3]]])]),
  ];

  browse({ rows, choices, says, line, show, table });
});
