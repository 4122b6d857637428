const MOST_NODES = 100_000;

/**
 * The nodes of one of Slurm's lists, `node[01-03,7],rack[1-2]n[0-1]`, in its order; undefined where it is none.
 */
export function expandNodelist(list: string): readonly string[] | undefined {
  const nodes: string[] = [];
  for (const item of splitOutside(list)) {
    const expanded = expandItem(item);
    if (expanded === undefined || nodes.length + expanded.length > MOST_NODES) return undefined;
    nodes.push(...expanded);
  }
  return nodes;
}

/** How many tasks each node has, as Slurm says it: `4(x2),3` is 4, 4, 3; undefined where it is no such list. */
export function expandTasksPerNode(list: string): readonly number[] | undefined {
  const tasks: number[] = [];
  for (const item of list.split(',')) {
    const [, count, times = '1'] = /^(\d{1,6})(?:\(x(\d{1,6})\))?$/.exec(item) ?? [];
    if (count === undefined || tasks.length + Number(times) > MOST_NODES) return undefined;
    tasks.push(...Array.from({ length: Number(times) }, () => Number(count)));
  }
  return tasks;
}

/** At the commas that no bracket encloses. */
function splitOutside(list: string): readonly string[] {
  return list.split(/,(?![^[\]]*\])/);
}

/** Every choice for the first bracket, followed by every choice for the rest. */
function expandItem(item: string): readonly string[] | undefined {
  const parts = /^([^[\]]*)(?:\[([^[\]]+)\](.*))?$/.exec(item);
  const [, head = '', choices, tail = ''] = parts ?? [];
  if (parts === null || item === '') return undefined;
  if (choices === undefined) return PLAIN.test(head) ? [head] : undefined;
  const middles = expandChoices(choices);
  const tails = tail === '' ? [''] : expandItem(tail);
  if (middles === undefined || tails === undefined || middles.length * tails.length > MOST_NODES)
    return undefined;
  if (!PLAIN.test(`x${head}`)) return undefined;
  return middles.flatMap((middle) => tails.map((end) => `${head}${middle}${end}`));
}

const PLAIN = /^[A-Za-z0-9._-]+$/;

/** `01-03,7`: leading zeros give the width. */
function expandChoices(choices: string): readonly string[] | undefined {
  const numbers: string[] = [];
  for (const range of choices.split(',')) {
    const [, first, last = first] = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(range) ?? [];
    if (first === undefined || last === undefined) return undefined;
    const count = Number(last) - Number(first) + 1;
    if (count < 1 || numbers.length + count > MOST_NODES) return undefined;
    for (let offset = 0; offset < count; offset += 1) {
      numbers.push(String(Number(first) + offset).padStart(first.length, '0'));
    }
  }
  return numbers;
}
