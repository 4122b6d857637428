import type { AsynchronousOperation, Handed, Instruction, Operation } from './instruction.js';

/** What stands behind each operation in print. */
const WORDS: { readonly [Op in Operation]: (instruction: Instruction<Op>) => readonly string[] } = {
  clear: () => ['gradients'],
  load: ({ micro }) => [`micro ${micro}`],
  forward: ({ block, micro, drop }) => [`block.${block}`, `micro ${micro}`, ...(drop ? ['(drop)'] : [])],
  recompute: ({ block, micro }) => [`block.${block}`, `micro ${micro}`],
  backward: ({ block, micro, half }) => [
    `block.${block}`,
    `micro ${micro}`,
    ...(half === undefined ? [] : [`(${half})`]),
  ],
  send: (handed) => [movedName(handed), 'start', `to rank ${handed.peer}`],
  receive: (handed) => [movedName(handed), 'start', `from rank ${handed.peer}`],
  reduce: ({ bucket, of }) => [`${of === undefined ? 'bucket' : of}.${bucket}`, 'start'],
  cast: ({ block }) => [`block.${block}`, 'parameters'],
  gather: ({ block, of, from }) => [
    `${of === undefined ? 'block' : of}.${block}`,
    from === undefined ? 'start' : `start (${from})`,
  ],
  copy: ({ block }) => [`block.${block}`, 'parameters (secondary)'],
  prepare: ({ block, micro }) => [`block.${block}`, `gradients${ofMicro(micro)}`],
  scatter: ({ part, micro }) => [`part.${part}${ofMicro(micro)}`, 'start'],
  sum: ({ block }) => [`slice.${block}`, 'start'],
  release: (freed) => [
    `block.${freed.block}`,
    freed.memory === 'parameters' ? freed.memory : `${freed.memory}${ofMicro(freed.micro)}`,
  ],
  complete: ({ block, axis }) => [`block.${block}`, `start (gradients, ${axis})`],
  agree: ({ gradients, over }) => [
    over === undefined ? 'tally' : `tally.${over}`,
    gradients === 'own' ? 'start (own gradients)' : 'start',
  ],
  evict: (moved) => [movedName(moved), 'start', ...('adds' in moved ? ['(adds)'] : [])],
  fetch: (moved) => [movedName(moved), 'start', ...('continues' in moved ? ['(continues)'] : [])],
  wait: ({ started }) => [startName(started)],
  remember: () => ['errors'],
  restore: () => ['errors', '(on overflow)'],
  check: ({ loss = false }) => [loss ? 'loss and gradients' : 'overflow'],
  clip: ({ maximumNorm }) => [maximumNorm === undefined ? 'none' : String(maximumNorm)],
  accumulate: ({ decay, unlessOverflow = false }) => [
    'momentum',
    `${decay}${unlessOverflow ? ' (unless overflow)' : ''}`,
  ],
  step: ({ unlessOverflow = false, left = false }) => {
    const notes = [
      ...(left ? ['left to the next step'] : []),
      ...(unlessOverflow ? ['unless overflow'] : []),
    ];
    return notes.length === 0 ? [] : ['', `(${notes.join(', ')})`];
  },
  adopt: () => ['weights'],
  update: (part) => [
    'block' in part ? `block.${part.block} weights` : `${part.share + 1} of ${part.shares}`,
    'block' in part ? 'start (of the step before)' : '(of the step before)',
  ],
  exchange: () => ['replicas', 'start'],
  merge: () => ['replicas'],
  publish: () => ['common', 'start'],
  compare: () => ['replicas', 'start'],
};

function movedName(moved: Instruction<'evict' | 'fetch'> | Handed): string {
  const micro = 'micro' in moved ? moved.micro : undefined;
  return `block.${moved.block} ${moved.memory}${ofMicro(micro)}`;
}

function ofMicro(micro: number | undefined): string {
  return micro === undefined ? '' : ` micro ${micro}`;
}

/** What stands behind the operation in print: the subject first, then what happens to it. */
export function instructionWords<Op extends Operation>(instruction: Instruction<Op>): readonly string[] {
  return WORDS[instruction.op](instruction);
}

/** One line for errors and traces ("backward block.3 micro 0"). */
export function instructionText(instruction: Instruction): string {
  return [instruction.op, ...instructionWords(instruction)].join(' ');
}

/**
 * The same in words that all ranks have which start it together, for those who compare what ranks do: a parameter that
 * ties stages is in another block on each.
 */
export function meetingText(instruction: Instruction): string {
  return instruction.op === 'complete' && instruction.axis === 'tied'
    ? 'complete tied parameters'
    : instructionText(instruction);
}

/** The name under which a start and its wait find each other ("reduce bucket.2"). */
export function startName(started: Instruction<AsynchronousOperation>): string {
  return `${started.op} ${instructionWords(started)[0]}`;
}
